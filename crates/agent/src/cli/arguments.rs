//! Definition of the command line: commands, options and help texts.

use super::bench_arguments::BenchArguments;
use super::explain::ExplainArguments;
use super::tap_arguments::TapArguments;
use super::top_arguments::TopArguments;
use super::torture_arguments::TortureArguments;
use crate::cli::outside_arguments::OutsideArguments;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Durable file channel and log-transport agent, compatible with Apache Flume configurations.
#[derive(Debug, Parser)]
#[command(
    name = "millpond",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  \
        millpond agent -n demo -f docs/examples/demo.conf\n  \
        millpond validate -n a1 -f flume.conf\n  \
        millpond channel stat -n a1 -f flume.conf --channel c1\n\n\
        Called under the name flume-ng it takes the same commands.\n\
        Exit codes: 0 success, 1 failure, 2 wrong usage."
)]
pub(super) struct CommandLine {
    #[command(subcommand)]
    pub command: CliCommand,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum CliCommand {
    /// Run the sources, channels and sinks of a configuration
    #[command(
        alias = "node",
        after_help = "Examples:\n  \
            millpond agent -n a1 -f flume.conf\n  \
            millpond agent --conf conf/ --name a1 --conf-file job/a1.conf -Dflume.root.logger=INFO,console\n  \
            millpond agent -n a1 -u https://conf.example.org/a1.conf -b /var/lib/millpond\n  \
            millpond agent -n a1 -z zk1:2181,zk2:2181/prod -p /flume -b /var/lib/millpond\n\n\
            SIGTERM and SIGINT stop it cleanly, with exit code 0; a second one ends it at once."
    )]
    Agent(Box<AgentArguments>),
    /// Check a configuration as `agent` would read it; starts nothing
    #[command(after_help = "Examples:\n  \
            millpond validate -n a1 -f flume.conf\n  \
            millpond validate -n a1 -f flume.conf --strict --quiet && systemctl reload millpond@a1\n  \
            millpond validate -n a1 -f flume.conf --effective\n\n\
            Errors come first, then warnings: causes before their consequences. What a start needs (ports,\n\
            directories, key stores) is tried without changing anything, unless --elsewhere is given. Exit\n\
            code 1 when a component would be left out; with --strict also after a warning. NO_COLOR is honoured.")]
    Validate(ValidateArguments),
    /// Explain a code of the log or of an alarm, and what to do
    #[command(after_help = "Examples:\n  \
            millpond explain MP-1203\n  \
            millpond explain 1203 90004\n  \
            millpond explain --list\n  \
            millpond explain --json | jq -r 'select(.number < 2000) | .title'\n\n\
            A code is the first field after the message of a log line (code=MP-1203), or is at the end of an error\n\
            message. docs/codes.md lists all codes. Exit code 2 for an unknown code.")]
    Explain(ExplainArguments),
    /// Draw the data flow: sources, channels, sinks, groups, and which agent sends to which
    #[command(after_help = "Examples:\n  \
            millpond graph -f flume.conf\n  \
            millpond graph -n a1 -f flume.conf --format svg > a1.svg\n  \
            millpond graph -f web.conf -f collector.conf --format dot | dot -Tpng > flow.png\n\n\
            Each file is read on its own. A sink is connected to the source of a drawn agent that\n\
            listens at its address. Exit code 1 when an agent, or a component that would be left out,\n\
            is not drawn.")]
    Graph(GraphArguments),
    /// Watch running agents: rates, fill, lag, failures
    #[command(after_help = "Examples:\n  \
            millpond top\n  \
            millpond top log1:34545 log2:34545 --sort state\n  \
            millpond top --once --json log1:34545 | jq '.agents[].components[] | select(.well | not)'\n  \
            millpond top https://log1:34545 --truststore ca.pem --token-file token\n\n\
            Agents are read over their metrics port (-Dflume.monitoring.type=http); an agent that does not\n\
            reply is marked and tried again. Keys: q quits, s sorts, p pauses, ? lists them.\n\
            With --once and --json the exit code is 1 when an agent did not reply. NO_COLOR is honoured.")]
    Top(TopArguments),
    /// Show events that pass a source, channel or sink of a running agent
    #[command(after_help = "Examples:\n  \
            millpond tap r1 -n web -Dmillpond.admin.socket=/run/millpond/\n  \
            millpond tap SINK.k1 -n web -c conf --headers --count 20\n  \
            millpond tap c1 -n web --socket web.sock --json --rate 100 | jq -r .body\n\n\
            The agent must run with -Dmillpond.admin.socket=PATH; only its user and root have access.\n\
            A PATH that is a directory, or ends in a slash, means PATH/AGENT.sock. Above the allowed rates\n\
            a sample of the events is shown; the flow never waits. A channel shows the events that are put\n\
            and taken. Ends on Ctrl-C, after --count events, or when the component is removed.")]
    Tap(TapArguments),
    /// Put into, take from, inspect and repair a file channel
    #[command(
        subcommand_required = true,
        arg_required_else_help = true,
        after_help = "CHANNEL is either\n  \
            --checkpoint-dir DIR --data-dirs DIR[,DIR...]\nor\n  \
            -n AGENT -f CONF --channel NAME\n\n\
            Examples:\n  \
            seq 1000 | millpond channel put --checkpoint-dir cp --data-dirs d1,d2\n  \
            millpond channel take -n a1 -f flume.conf --channel c1 --count 10"
    )]
    Channel {
        #[command(subcommand)]
        command: ChannelCommand,
    },
    /// Send lines of a file, of a directory's files or of stdin to an Avro source
    #[command(after_help = "Examples:\n  \
            millpond avro-client -H host -p 4141 -F file\n  \
            millpond avro-client -P client.properties --dirname spool\n\n\
            Each line is an event. A file of --dirname gets the suffix fileSuffix once it has been sent.\n\
            Exit code 0 when every line was acknowledged, otherwise 1 with the number of those\n\
            that were.")]
    AvroClient(Box<AvroClientArguments>),
    /// Measure a channel's throughput on your own disks, compared with the raw disks
    #[command(after_help = "Examples:\n  \
            millpond bench --data-dirs /mnt/disk1,/mnt/disk2\n  \
            millpond bench --data-dirs /mnt/disk1 --body 200 --batch 100,1000 --producers 1,8 --takers 1,4\n  \
            millpond bench -n a1 -f flume.conf --channel c1 --baseline --plot bench.html\n\n\
            Existing files are left alone: it measures in directories of its own and removes them\n\
            at the end, also on Ctrl-C, which reports the measurements so far.\n\
            A second Ctrl-C ends it at once.\n\
            Exit codes: 0 measured, 1 a write failed or a disk did not respond, 2 wrong usage or too\n\
            little space, 130 a second Ctrl-C. docs/bench.md explains the columns.")]
    Bench(Box<BenchArguments>),
    /// Kill a channel on your own disks repeatedly, and verify every event after each kill
    #[command(after_help = "Examples:\n  \
            millpond torture --data-dirs /mnt/disk1/t,/mnt/disk2/t --seconds 600\n  \
            millpond torture --data-dirs t1,t2 --kills 1000 --seed 7 --json\n  \
            millpond torture --data-dirs t1 --quota 64M\n\n\
            Exit codes: 0 no error found, 1 events were lost, doubled or altered, or another error was\n\
            found, 2 wrong usage or a test that could not be carried out. Ctrl-C ends with the report so\n\
            far, a second one at once (130). For power cuts see `torture write`, `collect` and `verify`.")]
    Torture(Box<TortureArguments>),
    /// Tools of Flume: refused by name, with their replacement (`channel check`, `channel repair`)
    #[command(after_help = "Example:\n  \
            millpond channel check --checkpoint-dir cp --data-dirs data1,data2\n\n\
            This replaces `tool fcintegritytool -l data1,data2`.")]
    Tool(UncheckedWords),
    /// Write the manual pages, one for each command
    #[command(after_help = "Examples:\n  \
            millpond man /usr/local/share/man/man1\n  \
            millpond man pages && man -l pages/millpond-agent.1")]
    Man {
        /// Target directory; created if it is missing
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Print a completion script for a shell
    #[command(after_help = "Examples:\n  \
            source <(millpond completions bash)\n  \
            millpond completions bash > /usr/share/bash-completion/completions/millpond\n  \
            millpond completions zsh > ~/.zfunc/_millpond\n  \
            millpond completions fish > ~/.config/fish/completions/millpond.fish")]
    Completions {
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the version
    #[command(after_help = "Example:\n  millpond version")]
    Version(UncheckedWords),
}

/// Shells that a completion script is printed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Words that are not parsed here.
#[derive(Debug, Args)]
pub(super) struct UncheckedWords {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub words: Vec<std::ffi::OsString>,
}

/// The agent and its configuration, and settings from outside the file.
#[derive(Debug, Args)]
pub(super) struct ConfigurationArguments {
    /// Name of the agent in the file
    #[arg(short, long)]
    pub name: String,
    /// The configuration; of several files, later ones replace keys of earlier ones
    #[arg(
        short = 'f',
        long = "conf-file",
        value_name = "FILE",
        required_unless_present_any = ["conf_uri", "zookeeper"]
    )]
    pub conf_files: Vec<PathBuf>,
    /// The configuration as a URI with file:, http: or https:; of several, later ones replace keys of earlier ones
    #[arg(short = 'u', long, value_name = "URI", conflicts_with = "conf_files")]
    pub conf_uri: Vec<String>,
    /// The configuration is in a node of these ZooKeeper servers; -f and -u have no effect then
    #[arg(short = 'z', long = "zkConnString", value_name = "HOST:PORT,…/CHROOT")]
    pub zookeeper: Option<String>,
    /// The node above that of the agent; default /flume, with the configuration of a1 in /flume/a1
    #[arg(short = 'p', long = "zkBasePath", value_name = "PATH")]
    pub zookeeper_path: Option<String>,
    /// User name for the web server (Basic) or for ZooKeeper (digest)
    #[arg(long, alias = "user", value_name = "NAME")]
    pub conf_user: Option<String>,
    /// The password; visible to other users of the machine in the list of processes
    #[arg(long, alias = "pwd", value_name = "WORD")]
    pub conf_password: Option<String>,
    /// A file whose first line is the password, read once at the start; not in Flume
    #[arg(long, value_name = "FILE", conflicts_with = "conf_password")]
    pub conf_password_file: Option<PathBuf>,
    #[command(flatten)]
    pub outside: OutsideArguments,
}

/// `validate`.
#[derive(Debug, Args)]
pub(super) struct ValidateArguments {
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
    /// Show notes too: differences from Flume, and other information
    #[arg(long)]
    pub notes: bool,
    /// Show errors only, and nothing when there are none
    #[arg(short, long, conflicts_with = "notes")]
    pub quiet: bool,
    /// Exit with 1 even if there are only warnings
    #[arg(long)]
    pub strict: bool,
    /// The agent runs on another machine: do not try ports, directories and key stores here
    #[arg(long)]
    pub elsewhere: bool,
    /// Show each setting with its effective value and its origin; secrets are masked
    #[arg(long)]
    pub effective: bool,
    /// One JSON object with the findings and the effective settings, notes included
    #[arg(long, conflicts_with_all = ["notes", "quiet", "effective"])]
    pub json: bool,
}

/// `graph`.
#[derive(Debug, Args)]
pub(super) struct GraphArguments {
    /// A configuration; may be given several times
    #[arg(short = 'f', long = "conf-file", value_name = "FILE", required = true)]
    pub conf_files: Vec<PathBuf>,
    /// An agent to draw; may be given several times. Without it all agents of the files
    #[arg(short, long = "name", value_name = "NAME")]
    pub names: Vec<String>,
    /// text for a terminal, dot for Graphviz, svg for a browser, json for programs
    #[arg(long, value_enum, default_value = "text")]
    pub format: GraphFormat,
    #[command(flatten)]
    pub outside: OutsideArguments,
}

/// Output formats of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum GraphFormat {
    Text,
    Dot,
    Svg,
    Json,
}

/// `avro-client`.
#[derive(Debug, Args)]
pub(super) struct AvroClientArguments {
    /// Host of the Avro source
    #[arg(short = 'H', long, value_name = "HOST", required_unless_present = "rpc_properties")]
    pub host: Option<String>,
    /// Its port
    #[arg(short, long, value_name = "PORT", required_unless_present = "rpc_properties")]
    pub port: Option<u16>,
    /// The file whose lines are sent; default: stdin
    #[arg(short = 'F', long, value_name = "FILE")]
    pub filename: Option<PathBuf>,
    /// A directory whose files are sent, one after the other; each is then renamed
    #[arg(long, value_name = "DIR", conflicts_with = "filename")]
    pub dirname: Option<PathBuf>,
    /// Properties that become headers of every event
    #[arg(short = 'R', long = "headerFile", value_name = "FILE")]
    pub header_file: Option<PathBuf>,
    /// Properties of the client: hosts, hosts.NAME, client.type, batch-size, timeouts, compression, ssl
    #[arg(short = 'P', long = "rpcProps", value_name = "FILE")]
    pub rpc_properties: Option<PathBuf>,
    #[command(flatten)]
    pub outside: OutsideArguments,
    #[command(flatten)]
    pub without_effect: IgnoredOptions,
}

/// `agent`.
#[derive(Debug, Args)]
pub(super) struct AgentArguments {
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
    /// Do not reload the configuration when it changes, only on SIGHUP
    #[arg(long)]
    pub no_reload_conf: bool,
    /// Seconds between checks of the configuration for changes, 1 to 86400; default 30
    #[arg(short = 'i', long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub poll_interval: Option<u64>,
    /// Keep the last good configuration in this directory, for a start at which it cannot be read
    #[arg(short = 'b', long, value_name = "DIR")]
    pub backup_directory: Option<PathBuf>,
    /// Show the command that would be run, with the settings from the environment; runs nothing
    #[arg(short = 'd', long)]
    pub dryrun: bool,
    #[command(flatten)]
    pub without_effect: IgnoredOptions,
    #[command(flatten)]
    pub absent: UnsupportedOptions,
}

/// Options of Flume's start script that concern Java: accepted, with a message that they have no effect.
#[derive(Debug, Args)]
#[command(next_help_heading = "Accepted from flume-ng, without effect (there is no Java here)")]
pub(super) struct IgnoredOptions {
    /// Java classes
    #[arg(short = 'C', long, value_name = "PATH")]
    pub classpath: Vec<String>,
    /// Directories of Java plugins
    #[arg(long, value_name = "DIRS")]
    pub plugins_path: Vec<String>,
    /// Options of the Java virtual machine, such as -Xmx20m
    #[arg(short = 'X', value_name = "OPTION")]
    pub java_machine: Vec<String>,
    #[arg(long, hide = true)]
    pub javaagent: Vec<String>,
    #[arg(long, hide = true)]
    pub agentlib: Vec<String>,
    #[arg(long, hide = true)]
    pub agentpath: Vec<String>,
}

/// Options of Flume that are refused by name.
#[derive(Debug, Args)]
#[command(next_help_heading = "Known from flume-ng and refused")]
pub(super) struct UnsupportedOptions {
    /// A configuration provider is a Java class
    #[arg(long = "conf-provider", alias = "prov", value_name = "CLASS")]
    pub conf_provider: Option<String>,
    /// An authorization provider is a Java class
    #[arg(short = 'a', long, value_name = "CLASS")]
    pub auth_provider: Option<String>,
}

/// `channel …`.
#[derive(Debug, Subcommand)]
pub(super) enum ChannelCommand {
    /// Put each line of stdin as an event body
    #[command(after_help = "Example:\n  \
            millpond channel put --checkpoint-dir cp --data-dirs d1,d2 --batch 1000 --acks < lines\n\n\
            A line is any sequence of bytes up to a newline. If the channel stays full\n\
            for its keep-alive, the command ends with exit code 1 and the number of committed events.\n\
            Puts leave 1 MiB of each disk free; with -n, -f and --channel the channel's\n\
            minimumRequiredSpace (500 MiB unless it is set).")]
    Put {
        #[command(flatten)]
        channel: ChannelArguments,
        /// Lines per transaction [default: 100, at most the channel's transactionCapacity]
        #[arg(long, value_name = "N", value_parser = positive)]
        batch: Option<usize>,
        /// After each commit, one line `committed TOTAL` on stdout
        #[arg(long)]
        acks: bool,
        #[command(flatten)]
        missing: MissingArguments,
    },
    /// Write event bodies to stdout, one per line, and commit them once they are written
    #[command(after_help = "Example:\n  \
            millpond channel take -n a1 -f flume.conf --channel c1 --count 10\n\n\
            Ends when the channel is empty. If it is stopped between writing and committing, the next\n\
            take writes the same events again.")]
    Take {
        #[command(flatten)]
        channel: ChannelArguments,
        /// Events per transaction [default: 100, at most the channel's transactionCapacity]
        #[arg(long, value_name = "N", value_parser = positive)]
        batch: Option<usize>,
        /// Stop after M events
        #[arg(long, value_name = "M")]
        count: Option<u64>,
        /// After each commit, one line `committed TOTAL` on stderr
        #[arg(long)]
        acks: bool,
        #[command(flatten)]
        missing: MissingArguments,
    },
    /// Show waiting events, capacity, and each stripe's segments and health; changes nothing
    #[command(
        after_help = "Example:\n  millpond channel stat --json -n a1 -f flume.conf --channel c1"
    )]
    Stat(InspectArguments),
    /// Verify every byte; changes nothing
    #[command(after_help = "Example:\n  \
            millpond channel check --checkpoint-dir cp --data-dirs d1,d2\n\n\
            Exit code 0 if no damage was found, otherwise 1 with each damaged place. While an agent has\n\
            the channel open, only data up to the watermark is checked.")]
    Check(InspectArguments),
    /// Show events with headers and their places in the log; changes nothing
    #[command(after_help = "Example:\n  \
            millpond channel dump --checkpoint-dir cp --data-dirs d1,d2 --json\n\n\
            One data directory after the other, each in the order of its log; takes, in contrast, use the\n\
            order in which blocks were sealed over all directories.")]
    Dump(InspectArguments),
    /// Quarantine damage and report what was lost; the channel must not be open elsewhere
    #[command(after_help = "Example:\n  \
            millpond channel repair --checkpoint-dir cp --data-dirs d1,d2\n\n\
            The bytes of each place that check calls damage are copied into a file quarantine-*.bin\n\
            next to the segment, its events are counted as lost, and all other events stay.")]
    Repair {
        #[command(flatten)]
        channel: ChannelArguments,
        #[command(flatten)]
        missing: MissingArguments,
    },
    /// Put the events of a returned segment file again, after they were given up
    #[command(after_help = "Example:\n  \
            millpond channel restore --checkpoint-dir cp --data-dirs d1,d2\n\n\
            After an opening with --without-missing-segments (openWithoutMissingSegments) a file that comes\n\
            back is left alone, and check and stat report it. Its events are put after those in the channel,\n\
            each once, even if the command is interrupted and run again. Then the file is removed.")]
    Restore(ChannelArguments),
    /// Forget the offset of a source that was removed for good; the channel must not be open elsewhere
    #[command(after_help = "Example:\n  \
            millpond channel forget-source -n a1 -f flume.conf --channel c1 r1\n\n\
            A file channel stores the offset of each source that reads files or runs a program. An agent\n\
            forgets offsets of sources that its configuration no longer names after a day, or when a\n\
            source needs the room; this command does so at once. A source of that name then continues from\n\
            its own file (positionFile of taildir, trackerDir of spooldir), or from the beginning if there is\n\
            none: remove that file too if it should read everything again.")]
    ForgetSource {
        #[command(flatten)]
        channel: ChannelArguments,
        /// Name of the source
        source: String,
    },
    /// Import a Flume file channel (not implemented yet)
    #[command(after_help = "Example:\n  \
            millpond channel import --checkpoint-dir cp --data-dirs d1 --from-flume OLDCP OLDDATA")]
    Import {
        #[command(flatten)]
        channel: ChannelArguments,
        /// Checkpoint directory and data directories of the Flume channel
        #[arg(long, num_args = 2, value_names = ["CHECKPOINT_DIR", "DATA_DIRS"], required = true)]
        from_flume: Vec<PathBuf>,
    },
}

/// Handling of missing segment files by `put`, `take` and `repair`.
#[derive(Debug, Args)]
pub(super) struct MissingArguments {
    /// Open although segment files are missing, and give up the events that waited in them
    #[arg(long)]
    pub without_missing_segments: bool,
}

/// `channel stat|check|dump`.
#[derive(Debug, Args)]
pub(super) struct InspectArguments {
    #[command(flatten)]
    pub channel: ChannelArguments,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Selection of a channel.
#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = true, args = ["checkpoint_dir", "name"])]
pub(super) struct ChannelArguments {
    /// Checkpoint directory
    #[arg(long, value_name = "DIR", requires = "data_dirs", conflicts_with_all = ["name", "conf_files", "channel"])]
    pub checkpoint_dir: Option<PathBuf>,
    /// Data directories, separated by commas
    #[arg(long, value_name = "DIR", value_delimiter = ',', requires = "checkpoint_dir")]
    pub data_dirs: Vec<PathBuf>,
    /// Capacity in events, if the channel is given by its directories
    #[arg(long, value_name = "N", requires = "checkpoint_dir")]
    pub capacity: Option<u64>,
    /// Name of the agent in the configuration
    #[arg(short, long, requires_all = ["conf_files", "channel"])]
    pub name: Option<String>,
    /// The configuration that describes the channel
    #[arg(short = 'f', long = "conf-file", value_name = "FILE", requires = "name")]
    pub conf_files: Vec<PathBuf>,
    /// Name of the channel in the configuration
    #[arg(long, value_name = "NAME", requires = "name")]
    pub channel: Option<String>,
    #[command(flatten)]
    pub outside: OutsideArguments,
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "must be a whole number from 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn visit(command: &clap::Command) {
            for sub in command.get_subcommands() {
                let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example"), "{} has no example", sub.get_name());
                visit(sub);
            }
        }
        visit(&CommandLine::command());
    }

    #[test]
    fn flume_ng_command_lines_of_the_wild_are_read() {
        for line in [
            "flume-ng agent --conf conf/ --name a1 --conf-file job/x.conf -Dflume.root.logger=INFO,console",
            "flume-ng agent -C conf/ -n a2 -f x.conf",
            "flume-ng agent --conf ./conf/ -f x.conf -Dflume.root.logger=DEBUG,console -n agentX",
            "flume-ng agent -n a -f x.conf -D a=b -Xmx20m -Xms10m --plugins-path p:q -i 5 --no-reload-conf",
            "flume-ng node -n a -f x.conf -f y.conf",
            "millpond validate -n a -f x.conf",
            "millpond channel put --checkpoint-dir c --data-dirs a,b --batch 5 --acks",
            "millpond channel take -n a -f x --channel c --count 4",
            "millpond channel import --checkpoint-dir c --data-dirs d --from-flume e f,g",
            "millpond avro-client -H h -p 1 -F f",
            "millpond version",
        ] {
            let read = CommandLine::try_parse_from(line.split(' '));
            assert!(
                read.is_ok(),
                "{line}: {}",
                read.err().map(|e| e.to_string()).unwrap_or_default()
            );
        }
    }

    #[test]
    fn command_lines_that_cannot_be_meant_are_refused() {
        for line in [
            "millpond agent -f x.conf",
            "millpond agent -n a",
            "millpond agent -n a -f x.conf --colour",
            "millpond channel put",
            "millpond channel put --checkpoint-dir c",
            "millpond channel put --data-dirs d",
            "millpond channel put -n a -f x",
            "millpond channel put --checkpoint-dir c --data-dirs d -n a -f x --channel y",
            "millpond channel take --checkpoint-dir c --data-dirs d --batch 0",
            "millpond chanel put",
        ] {
            assert!(CommandLine::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
