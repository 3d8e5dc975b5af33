//! `top`: agents as of now, on a terminal or once.

use super::interrupt::Interrupt;
use super::top_arguments::{TopArguments, TopSort};
use super::words::{Stop, show};
use crate::base::clock::{Clock, SystemClock};
use crate::net::tls::{ClientTls, Connector};
use crate::top::{self, Agent, Heard, Screen, Sort, TARGETS_MAX, Target, ask};
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Answers that wait for the screen.
const HEARD_MAX: usize = 64;

pub(super) fn run(arguments: &TopArguments) -> Result<(), Stop> {
    let targets = targets(&arguments.targets)?;
    let tls = tls(&targets)?;
    let every = Duration::from_secs_f64(arguments.interval);
    let sort = sort(arguments.sort);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("top")
        .enable_all()
        .build()
        .map_err(|error| Stop::Failed(format!("cannot begin: {error}")))?;
    let ended = if arguments.once || arguments.json {
        let agents = runtime.block_on(twice(&targets, tls.as_ref(), every));
        once(&agents, sort, arguments.json)
    } else {
        let _inside = runtime.enter();
        live(&targets, tls, sort, every)
    };
    // Not dropped: that would wait for names that are being looked up.
    runtime.shutdown_background();
    ended
}

fn targets(words: &[String]) -> Result<Vec<Target>, Stop> {
    if words.len() > TARGETS_MAX {
        return Err(Stop::Usage(format!("{} agents; {TARGETS_MAX} at most", words.len())));
    }
    let here = ["127.0.0.1".to_owned()];
    let words = if words.is_empty() { &here[..] } else { words };
    let targets = words.iter().map(|words| Target::named(words));
    targets.collect::<Result<_, _>>().map_err(|error| Stop::Usage(error.to_string()))
}

/// What greets servers with https, where one is to be asked.
fn tls(targets: &[Target]) -> Result<Option<Connector>, Stop> {
    if !targets.iter().any(Target::is_tls) {
        return Ok(None);
    }
    ClientTls::default().load().map(Some).map_err(|error| Stop::Failed(error.to_string()))
}

fn sort(sort: TopSort) -> Sort {
    match sort {
        TopSort::Flow => Sort::Flow,
        TopSort::State => Sort::State,
        TopSort::Rate => Sort::Rate,
        TopSort::Waiting => Sort::Waiting,
        TopSort::Fill => Sort::Fill,
        TopSort::Name => Sort::Name,
    }
}

/// Asks all of them, and those that answered again after `pause`: two answers make rates.
async fn twice(targets: &[Target], tls: Option<&Connector>, pause: Duration) -> Vec<Agent> {
    let clock = Arc::new(SystemClock::new());
    let mut asking = JoinSet::new();
    for (at, target) in targets.iter().cloned().enumerate() {
        let (clock, tls) = (Arc::clone(&clock), tls.cloned());
        asking.spawn(async move {
            let mut agent = Agent::new(&target.words);
            let first = ask(&target, tls.as_ref()).await;
            agent.hear(clock.now(), first);
            if agent.away.is_none() {
                tokio::time::sleep(pause).await;
                let second = ask(&target, tls.as_ref()).await;
                agent.hear(clock.now(), second);
            }
            (at, agent)
        });
    }
    let mut agents: Vec<(usize, Agent)> = asking.join_all().await;
    agents.sort_by_key(|(at, _)| *at);
    agents.into_iter().map(|(_, agent)| agent).collect()
}

fn once(agents: &[Agent], sort: Sort, as_json: bool) -> Result<(), Stop> {
    if as_json {
        show(&top::json_line(agents, sort))?;
    } else {
        show(&top::text(agents, sort))?;
    }
    match agents.iter().filter(|agent| agent.away.is_some()).count() {
        0 => Ok(()),
        away => Err(Stop::Failed(format!("{away} of {} agents do not answer", agents.len()))),
    }
}

fn live(
    targets: &[Target],
    tls: Option<Connector>,
    sort: Sort,
    every: Duration,
) -> Result<(), Stop> {
    if !io::stdout().is_terminal() {
        let words = "stdout is no terminal; --once prints a table, --json what programs read";
        return Err(Stop::Usage(words.to_owned()));
    }
    let interrupt = Interrupt::listen()?;
    let (tell, mut heard) = mpsc::channel(HEARD_MAX);
    let tls = Arc::new(tls);
    for (at, target) in targets.iter().cloned().enumerate() {
        let (tell, tls) = (tell.clone(), Arc::clone(&tls));
        tokio::spawn(async move {
            loop {
                let answer = ask(&target, (*tls).as_ref()).await;
                if tell.send(Heard { at, answer }).await.is_err() {
                    return;
                }
                tokio::time::sleep(every).await;
            }
        });
    }
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let screen = Screen::new(targets, sort, colours, every);
    let shown = screen.run(&mut heard, &interrupt.came);
    shown.map_err(|error| Stop::Failed(format!("the terminal cannot be used: {error}")))
}
