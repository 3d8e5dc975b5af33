//! The words of the command line as values.

use super::bench_arguments::BenchArguments;
use super::explain::ExplainArguments;
use super::tap_arguments::TapArguments;
use super::top_arguments::TopArguments;
use super::torture_arguments::TortureArguments;
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
        Exit codes: 0 done, 1 failed, 2 wrong usage."
)]
pub(super) struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the sources, channels and sinks of a configuration
    #[command(
        alias = "node",
        after_help = "Examples:\n  \
            millpond agent -n a1 -f flume.conf\n  \
            millpond agent --conf conf/ --name a1 --conf-file job/a1.conf -Dflume.root.logger=INFO,console\n  \
            millpond agent -n a1 -u https://conf.example.org/a1.conf -b /var/lib/millpond\n\n\
            SIGTERM and SIGINT stop it in order, with exit code 0; a second one ends it at once."
    )]
    Agent(Box<AgentArguments>),
    /// Read a configuration as `agent` would, start nothing, say what was found
    #[command(after_help = "Examples:\n  \
            millpond validate -n a1 -f flume.conf\n  \
            millpond validate -n a1 -f flume.conf --strict --quiet && systemctl reload millpond@a1\n  \
            millpond validate -n a1 -f flume.conf --effective\n\n\
            Errors come first, then warnings: causes before what follows from them. What a start would meet\n\
            (ports, directories, key stores) is tried without changing anything, unless --elsewhere is given. Exit code 1 when a component would be\n\
            left out; with --strict also after a warning. Colours as NO_COLOR says.")]
    Validate(ValidateArguments),
    /// Say what a code of the log or of an alarm means, and what to do
    #[command(after_help = "Examples:\n  \
            millpond explain MP-1203\n  \
            millpond explain 1203 90004\n  \
            millpond explain --list\n  \
            millpond explain --json | jq -r 'select(.number < 2000) | .title'\n\n\
            A code is the first field after the message of a log line (code=MP-1203), and stands at the end of an error. docs/codes.md\n\
            has the same for all of them. Exit code 2 for a code that there is not.")]
    Explain(ExplainArguments),
    /// Draw what feeds what: sources, channels, sinks, groups, and which agent sends to which
    #[command(after_help = "Examples:\n  \
            millpond graph -f flume.conf\n  \
            millpond graph -n a1 -f flume.conf --format svg > a1.svg\n  \
            millpond graph -f web.conf -f collector.conf --format dot | dot -Tpng > flow.png\n\n\
            Each file is read by itself. A sink that sends to where a source of a drawn agent\n\
            listens is joined to it. Exit code 1 when an agent, or a part of one that would be left out,\n\
            is not drawn.")]
    Graph(GraphArguments),
    /// Watch running agents: rates, fill, lag, what fails
    #[command(after_help = "Examples:\n  \
            millpond top\n  \
            millpond top log1:34545 log2:34545 --sort state\n  \
            millpond top --once --json log1:34545 | jq '.agents[].components[] | select(.well | not)'\n  \
            millpond top https://log1:34545 --truststore ca.pem --token-file token\n\n\
            Agents are asked over their metrics port (-Dflume.monitoring.type=http); one that does not\n\
            answer is shown as such and asked again. Keys: q leaves, s sorts, p holds, ? lists them.\n\
            With --once and --json the exit code is 1 when an agent did not answer. Colours as NO_COLOR says.")]
    Top(TopArguments),
    /// Look at events that pass a source, channel or sink of a running agent
    #[command(after_help = "Examples:\n  \
            millpond tap r1 -n web -Dmillpond.admin.socket=/run/millpond/\n  \
            millpond tap SINK.k1 -n web -c conf --headers --count 20\n  \
            millpond tap c1 -n web --socket web.sock --json --rate 100 | jq -r .body\n\n\
            The agent has to run with -Dmillpond.admin.socket=PATH, and only its user and root may ask:\n\
            a PATH that is a directory, or ends in a slash, stands for PATH/AGENT.sock. Of more events\n\
            than the rates allow a sample is shown; the flow never waits. A channel shows what is put and\n\
            what is taken. Ends with Ctrl-C, with --count, or when the component is gone.")]
    Tap(TapArguments),
    /// Put into, take from and look into a file channel
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
            Each line is an event. A file of --dirname gets the ending fileSuffix once it was sent.\n\
            Exit code 0 when every line was acknowledged, 1 when not; then the message says how\n\
            many were.")]
    AvroClient(Box<AvroClientArguments>),
    /// Measure a channel's throughput on your own disks, beside what the disks can do
    #[command(after_help = "Examples:\n  \
            millpond bench --data-dirs /mnt/disk1,/mnt/disk2\n  \
            millpond bench --data-dirs /mnt/disk1 --body 200 --batch 100,1000 --producers 1,8 --takers 1,4\n  \
            millpond bench -n a1 -f flume.conf --channel c1 --baseline --plot bench.html\n\n\
            What lies in the directories is left alone: it measures in directories of its own and\n\
            removes them at the end, also on Ctrl-C, which ends with what was measured so far.\n\
            A second Ctrl-C ends it at once.\n\
            Exit codes: 0 measured, 1 a write failed or a disk did not answer, 2 wrong usage or too\n\
            little space, 130 a second Ctrl-C. docs/bench.md explains the columns.")]
    Bench(Box<BenchArguments>),
    /// Kill a channel on your own disks again and again, and judge what each kill leaves
    #[command(after_help = "Examples:\n  \
            millpond torture --data-dirs /mnt/disk1/t,/mnt/disk2/t --seconds 600\n  \
            millpond torture --data-dirs t1,t2 --kills 1000 --seed 7 --json\n  \
            millpond torture --data-dirs t1 --quota 64M\n\n\
            Exit codes: 0 clean, 1 something was lost, doubled, altered or else not as it must be,\n\
            2 wrong usage or a test that could not be carried out. Ctrl-C ends with the report so\n\
            far, a second one at once (130). For power cuts see `torture write`, `collect` and `verify`.")]
    Torture(Box<TortureArguments>),
    /// Tools of Flume: refused by name, with what does their work (`channel check`, `channel repair`)
    #[command(
        disable_help_flag = true,
        after_help = "Example:\n  \
            millpond channel check --checkpoint-dir cp --data-dirs data1,data2\n\n\
            That is in the place of `tool fcintegritytool -l data1,data2`."
    )]
    Tool(AnyWords),
    /// Write the manual pages, one for each command
    #[command(after_help = "Examples:\n  \
            millpond man /usr/local/share/man/man1\n  \
            millpond man pages && man -l pages/millpond-agent.1")]
    Man {
        /// Where to; made when it is missing
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Print what makes a shell complete these commands and their options
    #[command(after_help = "Examples:\n  \
            source <(millpond completions bash)\n  \
            millpond completions bash > /usr/share/bash-completion/completions/millpond\n  \
            millpond completions zsh > ~/.zfunc/_millpond\n  \
            millpond completions fish > ~/.config/fish/completions/millpond.fish")]
    Completions {
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Say which version this is
    #[command(after_help = "Example:\n  millpond version")]
    Version(AnyWords),
}

/// Who completes words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Words that are not looked at.
#[derive(Debug, Args)]
pub(super) struct AnyWords {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub words: Vec<std::ffi::OsString>,
}

/// Which agent of which file, and settings from outside the file.
#[derive(Debug, Args)]
pub(super) struct ConfigurationArguments {
    /// Name of the agent in the file
    #[arg(short, long)]
    pub name: String,
    /// The configuration; given again, later files replace keys of earlier ones
    #[arg(
        short = 'f',
        long = "conf-file",
        value_name = "FILE",
        required_unless_present = "conf_uri"
    )]
    pub conf_files: Vec<PathBuf>,
    /// The configuration as a URI with file:, http: or https:; given again, later ones replace keys
    #[arg(short = 'u', long, value_name = "URI", conflicts_with = "conf_files")]
    pub conf_uri: Vec<String>,
    /// Who asks a web server for it (Basic)
    #[arg(long, alias = "user", value_name = "NAME")]
    pub conf_user: Option<String>,
    /// The password; other users of the machine see it among the processes
    #[arg(long, alias = "pwd", value_name = "WORD")]
    pub conf_password: Option<String>,
    /// A file with the password in its first line, read once at the start; not in Flume
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
    /// Show notes too: what is unlike Flume, and what is worth knowing
    #[arg(long)]
    pub notes: bool,
    /// Show errors only, and nothing when there are none
    #[arg(short, long, conflicts_with = "notes")]
    pub quiet: bool,
    /// Exit with 1 also when there are only warnings
    #[arg(long)]
    pub strict: bool,
    /// The agent runs on another machine: try no ports, directories and key stores here
    #[arg(long)]
    pub elsewhere: bool,
    /// Show each setting with the value that counts and where it comes from; secrets are masked
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
    /// An agent to draw, all of the files without it; may be given several times
    #[arg(short, long = "name", value_name = "NAME")]
    pub names: Vec<String>,
    /// text for a terminal, dot for Graphviz, svg for a browser, json for programs
    #[arg(long, value_enum, default_value = "text")]
    pub format: GraphFormat,
    #[command(flatten)]
    pub outside: OutsideArguments,
}

/// How a graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum GraphFormat {
    Text,
    Dot,
    Svg,
    Json,
}

/// Settings from outside the configuration file.
#[derive(Debug, Args)]
pub(super) struct OutsideArguments {
    /// Directory whose millpond.properties is read, and whose flume-env.sh is (not run) for JAVA_OPTS and
    /// FLUME_JAVA_OPTS
    #[arg(short = 'c', long, value_name = "DIR")]
    pub conf: Option<PathBuf>,
    /// A setting for the whole process, such as -Dflume.root.logger=INFO,console
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub properties: Vec<String>,
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
    /// The file whose lines to send; stdin without it
    #[arg(short = 'F', long, value_name = "FILE")]
    pub filename: Option<PathBuf>,
    /// A directory whose files to send, one after the other; each gets another name then
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
    pub without_effect: WithoutEffect,
}

/// `agent`.
#[derive(Debug, Args)]
pub(super) struct AgentArguments {
    #[command(flatten)]
    pub configuration: ConfigurationArguments,
    /// Do not read the configuration again when it changes; only on SIGHUP
    #[arg(long)]
    pub no_reload_conf: bool,
    /// Seconds between looks at the configuration, 1 to 86400; 30
    #[arg(short = 'i', long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub poll_interval: Option<u64>,
    /// Keep the last good configuration in this directory, for a start at which none can be had
    #[arg(short = 'b', long, value_name = "DIR")]
    pub backup_directory: Option<PathBuf>,
    /// Show the command that would be run, with the settings of the environment, and run nothing
    #[arg(short = 'd', long)]
    pub dryrun: bool,
    #[command(flatten)]
    pub without_effect: WithoutEffect,
    #[command(flatten)]
    pub absent: Absent,
}

/// Options of Flume's start script that concern Java: accepted, and said to have no effect.
#[derive(Debug, Args)]
#[command(next_help_heading = "Accepted from flume-ng, without effect (there is no Java here)")]
pub(super) struct WithoutEffect {
    /// Java classes
    #[arg(short = 'C', long, value_name = "PATH")]
    pub classpath: Vec<String>,
    /// Directories of Java plugins
    #[arg(long, value_name = "DIRS")]
    pub plugins_path: Vec<String>,
    /// Options of the Java machine, -Xmx20m
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
pub(super) struct Absent {
    /// A configuration provider is a Java class
    #[arg(long = "conf-provider", alias = "prov", value_name = "CLASS")]
    pub conf_provider: Option<String>,
    /// An authorization provider is a Java class
    #[arg(short = 'a', long, value_name = "CLASS")]
    pub auth_provider: Option<String>,
    /// Configurations in ZooKeeper
    #[arg(short = 'z', long = "zkConnString", value_name = "HOSTS")]
    pub zookeeper: Option<String>,
    /// Configurations in ZooKeeper
    #[arg(short = 'p', long = "zkBasePath", value_name = "PATH")]
    pub zookeeper_path: Option<String>,
}

/// `channel …`.
#[derive(Debug, Subcommand)]
pub(super) enum ChannelCommand {
    /// Lines of stdin become event bodies
    #[command(after_help = "Example:\n  \
            millpond channel put --checkpoint-dir cp --data-dirs d1,d2 --batch 1000 --acks < lines\n\n\
            A line is its bytes up to the newline, whatever they are. When the channel stays full\n\
            for its keep-alive the command ends with exit code 1 and says how many were committed.\n\
            Puts leave 1 MiB of each disk free; with -n, -f and --channel as much as the channel's\n\
            minimumRequiredSpace says (500 MiB unless it is set).")]
    Put {
        #[command(flatten)]
        channel: ChannelArguments,
        /// Lines of one transaction [default: 100, at most the channel's transactionCapacity]
        #[arg(long, value_name = "N", value_parser = positive)]
        batch: Option<usize>,
        /// After each commit, one line `committed TOTAL` on stdout
        #[arg(long)]
        acks: bool,
        #[command(flatten)]
        missing: MissingArguments,
    },
    /// Bodies to stdout, a line each, committed once they are written
    #[command(after_help = "Example:\n  \
            millpond channel take -n a1 -f flume.conf --channel c1 --count 10\n\n\
            Ends when the channel is empty. Stopped between writing and committing, it has the same\n\
            events written again by the next take.")]
    Take {
        #[command(flatten)]
        channel: ChannelArguments,
        /// Events of one transaction [default: 100, at most the channel's transactionCapacity]
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
    /// Events waiting, capacity, and each stripe's segments and health; changes nothing
    #[command(
        after_help = "Example:\n  millpond channel stat --json -n a1 -f flume.conf --channel c1"
    )]
    Stat(InspectArguments),
    /// Verify every byte; changes nothing
    #[command(after_help = "Example:\n  \
            millpond channel check --checkpoint-dir cp --data-dirs d1,d2\n\n\
            Exit code 0 when sound, 1 when damage was found, each place named. Beside a running agent\n\
            it stops at the watermark.")]
    Check(InspectArguments),
    /// Events with headers and positions; changes nothing
    #[command(after_help = "Example:\n  \
            millpond channel dump --checkpoint-dir cp --data-dirs d1,d2 --json\n\n\
            Data directory by data directory, each in the order of its log; takes go over all of them in the\n\
            order in which blocks were sealed.")]
    Dump(InspectArguments),
    /// Set damage aside and say what was lost; the channel must not be open elsewhere
    #[command(after_help = "Example:\n  \
            millpond channel repair --checkpoint-dir cp --data-dirs d1,d2\n\n\
            The bytes of each place that check calls damage are copied into a file quarantine-*.bin\n\
            beside the segment, its events are counted as lost, and the others go on.")]
    Repair {
        #[command(flatten)]
        channel: ChannelArguments,
        #[command(flatten)]
        missing: MissingArguments,
    },
    /// Put the events again that were given up with a segment file that is there again
    #[command(after_help = "Example:\n  \
            millpond channel restore --checkpoint-dir cp --data-dirs d1,d2\n\n\
            After an opening with --without-missing-segments (openWithoutMissingSegments) a file that comes\n\
            back is left alone, and check and stat name it. Its events come after all that is in the channel;\n\
            each is put once, also when this is interrupted and run again. The file is removed when all are in.")]
    Restore(ChannelArguments),
    /// Forget where a source is that will not come back; the channel must not be open elsewhere
    #[command(after_help = "Example:\n  \
            millpond channel forget-source -n a1 -f flume.conf --channel c1 r1\n\n\
            A file channel keeps, for each source that reads files or runs a program, how far it has\n\
            come. An agent forgets those of sources that its configuration no longer names after a\n\
            day, or when a source needs the room; this command does so at once. A source of that name\n\
            then goes on where its own file says (positionFile of taildir, trackerDir of spooldir), and\n\
            begins anew where there is none: remove that file too for it to read everything again.")]
    ForgetSource {
        #[command(flatten)]
        channel: ChannelArguments,
        /// Name of the source
        source: String,
    },
    /// Bring a Flume file channel over (comes later)
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

/// What `put`, `take` and `repair` do when segment files are missing.
#[derive(Debug, Args)]
pub(super) struct MissingArguments {
    /// Go on although segment files are missing, and give up what waited in them
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

/// Which channel.
#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = true, args = ["checkpoint_dir", "name"])]
pub(super) struct ChannelArguments {
    /// Checkpoint directory
    #[arg(long, value_name = "DIR", requires = "data_dirs", conflicts_with_all = ["name", "conf_files", "channel"])]
    pub checkpoint_dir: Option<PathBuf>,
    /// Data directories, separated by commas
    #[arg(long, value_name = "DIR", value_delimiter = ',', requires = "checkpoint_dir")]
    pub data_dirs: Vec<PathBuf>,
    /// Events the channel holds at most, when it is named by its directories
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
