//! `top`: the current state of agents, on a terminal or once.

use super::exit::{CommandError, show};
use super::interrupt::Interrupt;
use super::top_arguments::{AccessArguments, TopArguments, TopSort};
use millpond::{Clock, SystemClock};
use millpond_flow::net::http_auth::{HttpAuth, Secret};
use millpond_flow::net::store_reloader::ReloadableStores;
use millpond_flow::net::tls::{ClientTls, KeyStore};
use millpond_observe::top::{
    self, AgentAccess, AgentAddress, AgentState, AgentUpdate, Screen, SortOrder, TARGETS_MAX, ask,
};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Replies that wait for the screen.
const HEARD_MAX: usize = 64;

pub(super) fn run(arguments: &TopArguments) -> Result<(), CommandError> {
    let targets = targets(&arguments.targets)?;
    let access = access(&arguments.access, &targets)?;
    let every = Duration::from_secs_f64(arguments.interval);
    let sort = sort(arguments.sort);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("top")
        .enable_all()
        .build()
        .map_err(|error| CommandError::Failed(format!("cannot begin: {error}")))?;
    let ended = if arguments.once || arguments.json {
        let agents = runtime.block_on(twice(&targets, &access, every));
        once(&agents, sort, arguments.json)
    } else {
        let _inside = runtime.enter();
        watch(&targets, access, sort, every)
    };
    // The runtime is not dropped: that would wait for name lookups.
    runtime.shutdown_background();
    ended
}

fn targets(words: &[String]) -> Result<Vec<AgentAddress>, CommandError> {
    if words.len() > TARGETS_MAX {
        return Err(CommandError::Usage(format!("{} agents; {TARGETS_MAX} at most", words.len())));
    }
    let here = ["127.0.0.1".to_owned()];
    let words = if words.is_empty() { &here[..] } else { words };
    let targets = words.iter().map(|words| AgentAddress::named(words));
    targets.collect::<Result<_, _>>().map_err(|error| CommandError::Usage(error.to_string()))
}

/// Reads the credentials and stores that agents require.
///
/// # Errors
/// A file cannot be read or used, or a password would be sent to another machine in clear text.
fn access(
    arguments: &AccessArguments,
    targets: &[AgentAddress],
) -> Result<AgentAccess, CommandError> {
    let failed = |error: String| CommandError::Failed(error);
    let user = arguments.user.clone().zip(arguments.password_file.clone());
    let auth = HttpAuth {
        basic: user.map(|(user, file)| (user, Secret::File(file))),
        bearer: arguments.token_file.clone().map(Secret::File),
    };
    let mut access = AgentAccess::default();
    if auth.basic.is_some() || auth.bearer.is_some() {
        if let Some(target) = targets.iter().find(|target| target.is_overheard()) {
            return Err(CommandError::Usage(format!(
                "{}: a password or token goes to another machine over https only",
                target.words
            )));
        }
        access.authorization = auth.load().map_err(|error| failed(error.to_string()))?.header();
    }
    if targets.iter().any(AgentAddress::is_tls) {
        let password = |file: &Option<PathBuf>| match file {
            None => Ok(String::new()),
            Some(file) => Secret::File(file.clone()).read().map_err(|e| failed(e.to_string())),
        };
        let own = arguments.keystore.clone();
        let own = own.map(|path| {
            let password = password(&arguments.keystore_password_file)?;
            Ok::<_, CommandError>(KeyStore { path, password })
        });
        let tls = ClientTls {
            truststore: arguments.truststore.clone(),
            password: password(&arguments.truststore_password_file)?,
            own: own.transpose()?,
            ..ClientTls::default()
        };
        access.tls = Some(tls.load().map_err(|error| failed(error.to_string()))?);
    }
    Ok(access)
}

fn sort(sort: TopSort) -> SortOrder {
    match sort {
        TopSort::Flow => SortOrder::Flow,
        TopSort::State => SortOrder::State,
        TopSort::Rate => SortOrder::Rate,
        TopSort::Waiting => SortOrder::Waiting,
        TopSort::Fill => SortOrder::Fill,
        TopSort::Name => SortOrder::Name,
    }
}

/// Polls all of them, and those that replied again after `pause`: two replies give rates.
async fn twice(targets: &[AgentAddress], access: &AgentAccess, pause: Duration) -> Vec<AgentState> {
    let clock = Arc::new(SystemClock::new());
    let mut asking = JoinSet::new();
    for (at, target) in targets.iter().cloned().enumerate() {
        let (clock, access) = (Arc::clone(&clock), access.clone());
        asking.spawn(async move {
            let mut agent = AgentState::new(&target.words);
            let first = ask(&target, &access).await;
            agent.hear(clock.now(), first);
            if agent.away.is_none() {
                tokio::time::sleep(pause).await;
                let second = ask(&target, &access).await;
                agent.hear(clock.now(), second);
            }
            (at, agent)
        });
    }
    let mut agents: Vec<(usize, AgentState)> = asking.join_all().await;
    agents.sort_by_key(|(at, _)| *at);
    agents.into_iter().map(|(_, agent)| agent).collect()
}

fn once(agents: &[AgentState], sort: SortOrder, as_json: bool) -> Result<(), CommandError> {
    if as_json {
        show(&top::json_line(agents, sort))?;
    } else {
        show(&top::text(agents, sort))?;
    }
    match agents.iter().filter(|agent| agent.away.is_some()).count() {
        0 => Ok(()),
        away => {
            Err(CommandError::Failed(format!("{away} of {} agents do not reply", agents.len())))
        }
    }
}

fn watch(
    targets: &[AgentAddress],
    access: AgentAccess,
    sort: SortOrder,
    every: Duration,
) -> Result<(), CommandError> {
    if !io::stdout().is_terminal() {
        let words = "stdout is not a terminal; --once prints a table, --json what programs read";
        return Err(CommandError::Usage(words.to_owned()));
    }
    let interrupt = Interrupt::listen()?;
    let (tell, mut heard) = mpsc::channel(HEARD_MAX);
    let access = Arc::new(access);
    for (at, target) in targets.iter().cloned().enumerate() {
        let (tell, access) = (tell.clone(), Arc::clone(&access));
        tokio::spawn(async move {
            loop {
                let answer = ask(&target, &access).await;
                if tell.send(AgentUpdate { at, answer }).await.is_err() {
                    return;
                }
                tokio::time::sleep(every).await;
            }
        });
    }
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let screen = Screen::new(targets, sort, colours, every);
    let shown = screen.run(&mut heard, &interrupt.came);
    shown.map_err(|error| CommandError::Failed(format!("the terminal cannot be used: {error}")))
}
