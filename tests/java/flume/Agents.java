import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import javax.management.JMException;
import javax.management.ObjectName;

/** Agents, millpond's and Flume's, their configurations and ports, and patience with them. */
final class Agents {
    static final String MEMORY = "type=memory capacity=30000 transactionCapacity=10000";
    /** The program. */
    static String millpond;

    private static final long DEADLINE_MS = 90_000;
    private static final Random RANDOM = new Random();
    private static final Set<Integer> PORTS = new HashSet<>();
    private static final List<Process> CHILDREN = Collections.synchronizedList(new ArrayList<>());

    static {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> CHILDREN.forEach(Process::destroyForcibly)));
    }

    private Agents() {}

    static String listening(String type, int port) {
        return "type=" + type + " bind=127.0.0.1 port=" + port;
    }

    static String to(String type, int port) {
        return to(type, port, 500);
    }

    static String to(String type, int port, int batch) {
        return "type=" + type + " hostname=127.0.0.1 port=" + port + " batch-size=" + batch;
    }

    static String intoFiles(Path out, String codec) {
        return "type=file_roll sink.rollInterval=0 sink.serializer=avro_event sink.directory=" + out
                + " sink.serializer.compressionCodec=" + codec;
    }

    static Properties client(String words, int... ports) {
        Properties properties = new Properties();
        for (String word : words.trim().split(" ")) {
            if (!word.isEmpty()) {
                properties.setProperty(word.split("=", 2)[0], word.split("=", 2)[1]);
            }
        }
        StringBuilder hosts = new StringBuilder();
        for (int i = 0; i < ports.length; i++) {
            hosts.append("h").append(i).append(" ");
            properties.setProperty("hosts.h" + i, "127.0.0.1:" + ports[i]);
        }
        properties.setProperty("hosts", hosts.toString().trim());
        // Slow machines are no failures.
        properties.setProperty("connect-timeout", "60000");
        properties.setProperty("request-timeout", "60000");
        return properties;
    }

    /** `sources.r0` into `channels.c0` out of `sinks.k0`, and so on. */
    static String configuration(Map<String, String> parts, String channel) {
        StringBuilder text = new StringBuilder();
        int count = parts.size() / 2;
        String[][] letters = {{"sources", "r"}, {"channels", "c"}, {"sinks", "k"}};
        for (String[] kind : letters) {
            text.append("a.").append(kind[0]).append(" =");
            for (int i = 0; i < count; i++) {
                text.append(" ").append(kind[1]).append(i);
            }
            text.append("\n");
        }
        Map<String, String> all = new HashMap<>(parts);
        for (int i = 0; i < count; i++) {
            all.merge("sources.r" + i, " channels=c" + i, String::concat);
            all.merge("sinks.k" + i, " channel=c" + i, String::concat);
            all.put("channels.c" + i, channel);
        }
        all.forEach((part, words) -> {
            for (String word : words.split(" ")) {
                text.append("a.").append(part).append(".").append(word).append("\n");
            }
        });
        return text.toString();
    }

    /** A millpond. */
    static final class Agent implements AutoCloseable {
        private final Path place;
        private Process process;

        Agent(Path place) {
            this.place = place;
        }

        Agent(Path place, Map<String, String> parts, String channel, int[] ports) throws Exception {
            this(place);
            start(parts, channel, ports);
        }

        void start(Map<String, String> parts, String channel, int[] ports) throws Exception {
            Files.writeString(place.resolve("a.conf"), configuration(parts, channel));
            ProcessBuilder builder = new ProcessBuilder(millpond, "agent", "-n", "a", "-f", "a.conf");
            builder.directory(place.toFile()).redirectErrorStream(true);
            process = builder.redirectOutput(place.resolve("agent.log").toFile()).start();
            CHILDREN.add(process);
            listens(ports, () -> check(process.isAlive(), "millpond ended: " + log()));
        }

        boolean isRunning() {
            return process != null;
        }

        String log() {
            try {
                return Files.readString(place.resolve("agent.log"));
            } catch (IOException none) {
                return none.toString();
            }
        }

        void kill() throws Exception {
            process.destroyForcibly().waitFor();
            process = null;
        }

        /** Ends it in order: what is in its channels goes out. */
        @Override
        public void close() throws Exception {
            if (process == null) {
                return;
            }
            process.destroy();
            check(process.waitFor(60, TimeUnit.SECONDS), "millpond does not end: " + log());
            check(process.exitValue() == 0, "millpond ended with " + process.exitValue() + ": " + log());
        }
    }

    /** Flume itself, in this process. */
    static void startFlume(Path place, Map<String, String> parts, int[] ports) throws Exception {
        Path file = place.resolve("flume.conf");
        Files.writeString(file, configuration(parts, MEMORY));
        org.apache.flume.node.Application.main(
                new String[] {"-n", "a", "-f", file.toString(), "--no-reload-conf"});
        listens(ports, () -> {});
    }

    /** Batches that Flume's sink of this name could not deliver, by its own counters; of the last one so called. */
    static long refusals(String sink) throws IOException {
        try {
            ObjectName name = new ObjectName("org.apache.flume.sink:type=" + sink);
            return (Long) ManagementFactory.getPlatformMBeanServer().getAttribute(name, "EventWriteFail");
        } catch (JMException none) {
            throw new IOException(none);
        }
    }

    static void listens(int[] ports, Runnable also) throws Exception {
        for (int port : ports) {
            until("a listener at port " + port, () -> {
                also.run();
                try (Socket socket = new Socket("127.0.0.1", port)) {
                    return true;
                } catch (IOException refused) {
                    return false;
                }
            });
        }
    }

    /** Free ports, outside the range that Linux gives to clients: 32768 and more. */
    static int[] freePorts(int count) {
        int[] ports = new int[count];
        for (int i = 0; i < count; ) {
            int port = 15_000 + RANDOM.nextInt(15_000);
            try (ServerSocket socket = new ServerSocket(port, 1, InetAddress.getLoopbackAddress())) {
                if (PORTS.add(port)) {
                    ports[i++] = port;
                }
            } catch (IOException taken) {
                // The next one.
            }
        }
        return ports;
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    static void until(String what, Condition condition) throws Exception {
        Exception last = null;
        for (long end = System.currentTimeMillis() + DEADLINE_MS; System.currentTimeMillis() < end; ) {
            try {
                if (condition.holds()) {
                    return;
                }
            } catch (IOException | RuntimeException halfWritten) {
                last = halfWritten;
            }
            Thread.sleep(50);
        }
        throw new AssertionError("not seen: " + what, last);
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
