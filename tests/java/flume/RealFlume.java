import java.io.File;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import org.apache.avro.AvroRemoteException;
import org.apache.avro.AvroRuntimeException;
import org.apache.avro.Protocol;
import org.apache.avro.Schema;
import org.apache.avro.file.CodecFactory;
import org.apache.avro.file.DataFileWriter;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.ipc.generic.GenericRequestor;
import org.apache.avro.ipc.netty.NettyTransceiver;
import org.apache.avro.util.Utf8;
import org.apache.flume.EventDeliveryException;
import org.apache.flume.api.RpcClient;
import org.apache.flume.api.RpcClientFactory;
import org.apache.flume.source.avro.AvroSourceProtocol;

/**
 * Flume's own clients against millpond's sources, and millpond's sinks into Flume's own sources: every
 * event is compared, headers and body. Flume's jars are the judge, so nothing of its protocols is
 * written down here.
 *
 * <p>java -cp 'CLASSES:FLUME/lib/*' RealFlume MILLPOND STORES DIRECTORY [PART]: the program, the key stores
 * in tests/golden/tls, an empty directory, and the only part to run. .ci/flume does all that.
 */
public final class RealFlume {
    private static final Random RANDOM = new Random();

    /** What Avro 1.11 has. */
    private static final String[] CODECS = {"null", "deflate", "snappy", "bzip2", "xz", "zstandard"};

    private static Path stores;
    private static Path directory;

    /** A way from a client to a source: the settings of the source, of our sink, and of Flume's client. */
    private record Wire(String name, String source, String sink, String client) {
        static List<Wire> all() {
            String server = " ssl=true keystore=" + stores.resolve("server.jks") + " keystore-password=changeit";
            String trust =
                    " ssl=true truststore=" + stores.resolve("trust.jks")
                            + " truststore-password=changeit truststore-type=JKS";
            String small = " compression-type=deflate";
            return List.of(
                    new Wire("avro", "avro", "avro", ""),
                    new Wire("avro-deflate", "avro" + small, "avro" + small, small),
                    new Wire("avro-tls", "avro" + server, "avro" + trust, trust),
                    new Wire("avro-deflate-tls", "avro" + small + server, "avro" + small + trust, small + trust),
                    new Wire("thrift-compact", "thrift", "thrift", " client.type=thrift"),
                    new Wire(
                            "thrift-binary",
                            "thrift protocol=binary",
                            "thrift protocol=binary",
                            " client.type=thrift protocol=binary"),
                    new Wire("thrift-tls", "thrift" + server, "thrift" + trust, " client.type=thrift" + trust));
        }

        /** Only of small bodies: what compresses or encrypts takes its time. */
        boolean isPlain() {
            return !source.contains("deflate") && !source.contains("ssl");
        }
    }

    public static void main(String[] arguments) throws Exception {
        Agents.millpond = new File(arguments[0]).getAbsolutePath();
        stores = Path.of(arguments[1]).toAbsolutePath();
        directory = Path.of(arguments[2]).toAbsolutePath();
        String only = arguments.length > 3 ? arguments[3] : "";
        part(only, "clients", RealFlume::clients);
        part(only, "sinks", RealFlume::sinks);
        part(only, "files", RealFlume::files);
        part(only, "full", RealFlume::fullChannel);
        part(only, "backing", RealFlume::backingOff);
        part(only, "groups", RealFlume::groupsOfHosts);
        part(only, "handshakes", RealFlume::handshakes);
        part(only, "large", RealFlume::tooLarge);
        System.exit(0);
    }

    private interface Part {
        String run(Path place) throws Exception;
    }

    private static void part(String only, String name, Part part) throws Exception {
        if (!only.isEmpty() && !only.equals(name)) {
            return;
        }
        long began = System.nanoTime();
        try {
            String words = part.run(Files.createDirectories(directory.resolve(name)));
            System.out.printf("%-10s %4d s  %s%n", name, (System.nanoTime() - began) / 1_000_000_000, words);
        } catch (Throwable cause) {
            System.out.println("FAILED " + name);
            cause.printStackTrace(System.out);
            System.exit(1);
        }
    }

    // ---- parts ------------------------------------------------------------------

    /** NettyAvroRpcClient and ThriftRpcClient: every wire, size of batch and size of body. */
    private static String clients(Path place) throws Exception {
        List<Wire> wires = Wire.all();
        int[] ports = Agents.freePorts(wires.size());
        Map<String, String> parts = new HashMap<>();
        Path[] outs = new Path[wires.size()];
        for (int i = 0; i < outs.length; i++) {
            outs[i] = Files.createDirectories(place.resolve(wires.get(i).name));
            parts.put("sources.r" + i, Agents.listening(wires.get(i).source, ports[i]));
            // Large bodies are of the wires without TLS and compression: they go into what is quick.
            String codec = wires.get(i).isPlain() ? CODECS[i % 3] : CODECS[i % 5];
            parts.put("sinks.k" + i, Agents.intoFiles(outs[i], codec));
        }
        List<List<Events.Sent>> all = new ArrayList<>();
        long bytes = 0;
        int events = 0;
        try (Agents.Agent agent = new Agents.Agent(place, parts, Agents.MEMORY, ports)) {
            for (int i = 0; i < outs.length; i++) {
                List<Events.Sent> sent = sendAll(wires.get(i), ports[i], i);
                all.add(sent);
                events += sent.size();
                bytes += sent.stream().mapToLong(one -> one.body().length).sum();
            }
        }
        for (int i = 0; i < outs.length; i++) {
            Events.same(wires.get(i).name, all.get(i), Events.read(outs[i]), true);
        }
        return events + " events, " + (bytes >> 20) + " MiB over " + outs.length + " wires, each the same";
    }

    /** What a client of this wire has: single events, batches of 1 to 10,000, bodies of 0 B to 50 MB. */
    private static List<Events.Sent> sendAll(Wire wire, int port, int seed) throws Exception {
        List<Events.Sent> sent = new ArrayList<>();
        Random random = new Random(seed);
        Properties large = Agents.client(wire.client + " batch-size=10000", port);
        RpcClient client = RpcClientFactory.getInstance(large);
        Agents.check(client.getBatchSize() == 10_000, "the size of batches is taken");
        for (int size : new int[] {0, 1, 100, 70_000}) {
            send(client, sent, List.of(Events.event(random, size)));
        }
        Map<String, String> odd = new HashMap<>();
        odd.put("", "");
        odd.put("größe", "日志 😀");
        odd.put("line\nend", "\0");
        Events.Sent headed = new Events.Sent(odd, new byte[] {0, -1, 13, 10});
        client.append(headed.event());
        sent.add(headed);
        for (int batch : new int[] {1, 100, 10_000}) {
            List<Events.Sent> many = new ArrayList<>();
            for (int i = 0; i < batch; i++) {
                many.add(Events.event(random, random.nextInt(200)));
            }
            send(client, sent, many);
        }
        send(client, sent, List.of(Events.event(random, 0), Events.event(random, 3_000_000), Events.event(random, 1)));
        if (wire.isPlain()) {
            Events.Sent huge = Events.event(random, 50_000_000);
            client.append(huge.event());
            sent.add(huge);
        }
        client.close();
        // As a client has it that was told nothing: calls of 100 events.
        client = RpcClientFactory.getInstance(Agents.client(wire.client, port));
        List<Events.Sent> many = new ArrayList<>();
        for (int i = 0; i < 250; i++) {
            many.add(Events.event(random, 50));
        }
        send(client, sent, many);
        client.close();
        return sent;
    }

    private static void send(RpcClient client, List<Events.Sent> sent, List<Events.Sent> batch) throws Exception {
        if (batch.size() == 1 && RANDOM.nextBoolean()) {
            client.append(batch.get(0).event());
        } else {
            client.appendBatch(Events.events(batch));
        }
        sent.addAll(batch);
    }

    /** A wire and the events of one call over it. */
    private record Way(Wire wire, int batch) {
        /** Every wire, and batches of 1 and of 10,000 over a wire of each protocol. */
        static List<Way> all() {
            List<Way> ways = new ArrayList<>();
            for (Wire wire : Wire.all()) {
                ways.add(new Way(wire, 500));
                if (List.of("avro", "avro-deflate-tls", "thrift-compact").contains(wire.name)) {
                    ways.add(new Way(wire, 1));
                    ways.add(new Way(wire, 10_000));
                }
            }
            return ways;
        }

        String name() {
            return wire.name + "-" + batch;
        }

        List<Events.Sent> events(Random random) {
            List<Events.Sent> sent = new ArrayList<>();
            for (int n = Math.max(batch, batch == 1 ? 200 : 1000); n > 0; n--) {
                sent.add(Events.event(random, random.nextInt(300)));
            }
            if (batch == 500) {
                sent.add(Events.event(random, 3_000_000));
                sent.add(Events.event(random, 0));
                if (wire.source.equals("avro")) {
                    // Flume's Thrift takes no frame of more than 16 MB. TLS and compression lie below the
                    // frames, which are the same over them, and take their time: 3 MB are enough there.
                    sent.add(Events.event(random, 50_000_000));
                }
            }
            return sent;
        }
    }

    /** Our sinks into Flume's sources, its rolling files behind them. */
    private static String sinks(Path place) throws Exception {
        List<Way> ways = Way.all();
        int[] in = Agents.freePorts(ways.size());
        int[] through = Agents.freePorts(ways.size());
        Map<String, String> ours = new HashMap<>();
        Map<String, String> theirs = new HashMap<>();
        Path[] outs = new Path[ways.size()];
        for (int i = 0; i < outs.length; i++) {
            Way way = ways.get(i);
            outs[i] = Files.createDirectories(place.resolve(way.name()));
            ours.put("sources.r" + i, Agents.listening("avro", in[i]));
            ours.put("sinks.k" + i, Agents.to(way.wire.sink, through[i], way.batch));
            theirs.put("sources.r" + i, Agents.listening(way.wire.source, through[i]));
            theirs.put("sinks.k" + i, Agents.intoFiles(outs[i], "null"));
        }
        Agents.startFlume(place, theirs, through);
        List<List<Events.Sent>> all = new ArrayList<>();
        int events = 0;
        try (Agents.Agent agent = new Agents.Agent(place, ours, Agents.MEMORY, in)) {
            for (int i = 0; i < outs.length; i++) {
                RpcClient client = RpcClientFactory.getInstance(Agents.client("batch-size=10000", in[i]));
                List<Events.Sent> sent = ways.get(i).events(new Random(100 + i));
                client.appendBatch(Events.events(sent));
                client.close();
                all.add(sent);
                events += sent.size();
            }
            for (int i = 0; i < outs.length; i++) {
                Path out = outs[i];
                int wanted = all.get(i).size();
                String name = ways.get(i).name();
                Agents.until("all events over " + name, () -> Events.read(out).size() >= wanted);
                Events.same(name, all.get(i), Events.read(out), true);
            }
        }
        return events + " events over " + outs.length + " ways, in batches of 1 to 10,000, into Flume's own sources, each the same";
    }

    /** Avro's own files, in each codec, through our deserializer and back into files that Avro reads. */
    private static String files(Path place) throws Exception {
        Schema schema = new Schema.Parser().parse(SCHEMA);
        Path url = Files.writeString(place.resolve("r.avsc"), schema.toString(true));
        Map<String, String> parts = new HashMap<>();
        Map<String, List<GenericRecord>> all = new LinkedHashMap<>();
        for (String codec : CODECS) {
            Path in = Files.createDirectories(place.resolve("in-" + codec));
            int i = all.size();
            try {
                all.put(codec, write(in.resolve("data.avro"), schema, codec, i));
            } catch (LinkageError missing) {
                System.out.println("left out " + codec + ": no library, or one that Avro does not work with: " + missing);
                continue;
            }
            // The schema goes with the events, or only its fingerprint, and then a file has it.
            boolean literal = i % 2 == 0;
            parts.put("sources.r" + i, "type=spooldir deserializer=AVRO spoolDir=" + in
                    + " deserializer.schemaType=" + (literal ? "LITERAL" : "HASH"));
            parts.put("sinks.k" + i, Agents.intoFiles(Files.createDirectories(place.resolve(codec)), codec)
                    .replace("avro_event", "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder")
                    + (literal ? "" : " sink.serializer.schemaURL=file:" + url));
        }
        int records = 0;
        try (Agents.Agent agent = new Agents.Agent(place, parts, Agents.MEMORY, new int[0])) {
            for (String codec : all.keySet()) {
                Path out = place.resolve(codec);
                List<GenericRecord> written = all.get(codec);
                Agents.until("all records of " + codec, () -> Events.records(out).size() >= written.size());
                Agents.check(Events.records(out).equals(written), codec + ": other records came out");
                records += written.size();
            }
        }
        return records + " records in " + all.size() + " codecs, read here and read there the same";
    }

    private static final String SCHEMA =
            """
            {"type": "record", "name": "R", "namespace": "n.s", "fields": [
              {"name": "n", "type": "long"}, {"name": "s", "type": ["null", "string"]},
              {"name": "b", "type": "bytes"},
              {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["X", "Y"]}},
              {"name": "a", "type": {"type": "array", "items": "double"}}]}
            """;

    private static List<GenericRecord> write(Path file, Schema schema, String codec, int seed) throws Exception {
        Random random = new Random(seed);
        List<GenericRecord> records = new ArrayList<>();
        try (DataFileWriter<GenericRecord> writer = new DataFileWriter<>(new GenericDatumWriter<>(schema))) {
            writer.setCodec(CodecFactory.fromString(codec)).create(schema, file.toFile());
            for (int n = 0; n < 2000; n++) {
                GenericRecord record = new GenericData.Record(schema);
                byte[] bytes = new byte[n == 77 ? 1_000_000 : random.nextInt(300)];
                random.nextBytes(bytes);
                record.put("n", random.nextLong());
                // As Avro reads text.
                record.put("s", random.nextBoolean() ? null : new Utf8("日志 " + "x".repeat(random.nextInt(500))));
                record.put("b", ByteBuffer.wrap(bytes));
                record.put("e", new GenericData.EnumSymbol(schema.getField("e").schema(), random.nextBoolean() ? "X" : "Y"));
                record.put("a", new GenericData.Array<>(
                        schema.getField("a").schema(), random.doubles(random.nextInt(5)).boxed().toList()));
                writer.append(record);
                records.add(record);
            }
        }
        return records;
    }

    /** A full channel: FAILED, the client backs off, and everything arrives once there is room. */
    private static String fullChannel(Path place) throws Exception {
        int[] ports = Agents.freePorts(4);
        Path[] outs = {Files.createDirectories(place.resolve("a")), Files.createDirectories(place.resolve("t"))};
        Map<String, String> ours = Map.of(
                "sources.r0", Agents.listening("avro", ports[0]), "sinks.k0", Agents.to("avro", ports[2]),
                "sources.r1", Agents.listening("thrift", ports[1]), "sinks.k1", Agents.to("avro", ports[3]));
        Map<String, String> behind = Map.of(
                "sources.r0", Agents.listening("avro", ports[2]), "sinks.k0", Agents.intoFiles(outs[0], "null"),
                "sources.r1", Agents.listening("avro", ports[3]), "sinks.k1", Agents.intoFiles(outs[1], "null"));
        Properties[] clients = {Agents.client("", ports[0]), Agents.client("client.type=thrift", ports[1])};
        List<List<Events.Sent>> all = List.of(new ArrayList<>(), new ArrayList<>());
        String narrow = "type=memory capacity=1000 transactionCapacity=500 keep-alive=0";
        Random random = new Random(7);
        int refused = 0;
        try (Agents.Agent agent = new Agents.Agent(place, ours, narrow, new int[] {ports[0], ports[1]});
                Agents.Agent next = new Agents.Agent(Files.createDirectories(place.resolve("next")))) {
            for (int wire = 0; wire < 2; wire++) {
                RpcClient client = RpcClientFactory.getInstance(clients[wire]);
                for (int batch = 0; batch < 10; batch++) {
                    send(client, all.get(wire), hundred(random));
                }
                refusal(() -> client.appendBatch(Events.events(hundred(random))));
                Agents.check(client.isActive() == (wire == 1), "Flume's Avro client is dead behind a FAILED, Thrift's is not");
                client.close();
            }
            next.start(behind, Agents.MEMORY, new int[] {ports[2], ports[3]});
            for (int wire = 0; wire < 2; wire++) {
                for (int batch = 0; batch < 20; batch++) {
                    refused += sendUntilTaken(clients[wire], all.get(wire), hundred(random));
                }
                Path out = outs[wire];
                int wanted = all.get(wire).size();
                Agents.until("all events behind a full channel", () -> Events.read(out).size() >= wanted);
            }
        }
        // A batch that is refused enters nowhere, so nothing is there twice either.
        Events.same("behind a full channel, avro", all.get(0), Events.read(outs[0]), true);
        Events.same("behind a full channel, thrift", all.get(1), Events.read(outs[1]), true);
        return "batches refused and sent again (" + (refused + 2) + " times); all events once, in order";
    }

    /** Flume's own agent in front of a channel of ours that is full: its sinks back off and lose nothing. */
    private static String backingOff(Path place) throws Exception {
        int[] theirs = Agents.freePorts(2);
        int[] ours = Agents.freePorts(2);
        int[] behind = Agents.freePorts(2);
        String[] types = {"avro", "thrift"};
        Map<String, String> flume = new HashMap<>();
        Map<String, String> narrow = new HashMap<>();
        Map<String, String> next = new HashMap<>();
        Path[] outs = new Path[2];
        for (int i = 0; i < 2; i++) {
            outs[i] = Files.createDirectories(place.resolve(types[i]));
            flume.put("sources.r" + i, Agents.listening("avro", theirs[i]));
            flume.put("sinks.k" + i, Agents.to(types[i], ours[i], 100));
            narrow.put("sources.r" + i, Agents.listening(types[i], ours[i]));
            narrow.put("sinks.k" + i, Agents.to("avro", behind[i], 100));
            next.put("sources.r" + i, Agents.listening("avro", behind[i]));
            next.put("sinks.k" + i, Agents.intoFiles(outs[i], "null"));
        }
        List<List<Events.Sent>> all = List.of(new ArrayList<>(), new ArrayList<>());
        Random random = new Random(17);
        Path last = Files.createDirectories(place.resolve("next"));
        try (Agents.Agent agent = new Agents.Agent(place, narrow, "type=memory capacity=300 transactionCapacity=100 keep-alive=0", ours);
                Agents.Agent end = new Agents.Agent(last)) {
            Agents.startFlume(place, flume, theirs);
            for (int i = 0; i < 2; i++) {
                RpcClient client = RpcClientFactory.getInstance(Agents.client("", theirs[i]));
                for (int batch = 0; batch < 20; batch++) {
                    send(client, all.get(i), hundred(random));
                }
                client.close();
                int at = i;
                Agents.until("Flume's " + types[i] + " sink is refused", () -> Agents.refusals("k" + at) > 1);
            }
            end.start(next, Agents.MEMORY, behind);
            for (int i = 0; i < 2; i++) {
                Path out = outs[i];
                Agents.until("what Flume kept over " + types[i], () -> Events.read(out).size() >= 2000);
                Events.same("behind Flume's " + types[i] + " sink", all.get(i), Events.read(out), true);
            }
        }
        return "Flume's avro and thrift sinks were refused, backed off and brought 4000 events, each once";
    }

    private static List<Events.Sent> hundred(Random random) {
        List<Events.Sent> many = new ArrayList<>();
        for (int i = 0; i < 100; i++) {
            many.add(Events.event(random, 100));
        }
        return many;
    }

    /** As a user of the client has to do it: a new client and the same batch, after a pause. */
    private static int sendUntilTaken(Properties properties, List<Events.Sent> sent, List<Events.Sent> batch) throws Exception {
        for (int failures = 0; ; failures++) {
            RpcClient client = RpcClientFactory.getInstance(properties);
            try {
                send(client, sent, batch);
                return failures;
            } catch (EventDeliveryException full) {
                Agents.check(failures < 300, "there never is room again: " + full);
                Thread.sleep(100);
            } finally {
                client.close();
            }
        }
    }

    /** LoadBalancingRpcClient and FailoverRpcClient over two agents, one of which is killed. */
    private static String groupsOfHosts(Path place) throws Exception {
        int[] ports = Agents.freePorts(2);
        Path[] outs = {Files.createDirectories(place.resolve("0")), Files.createDirectories(place.resolve("1"))};
        List<Events.Sent> sent = new ArrayList<>();
        Random random = new Random(9);
        int balanced;
        try (Agents.Agent first = new Agents.Agent(Files.createDirectories(place.resolve("first")));
                Agents.Agent second = new Agents.Agent(Files.createDirectories(place.resolve("second")))) {
            for (int i = 0; i < 2; i++) {
                // What a killed agent has answered has to be there: a channel in memory would not do.
                String channel = "type=file checkpointDir=c/checkpoint dataDirs=c/data minimumRequiredSpace=1048576";
                Map<String, String> parts =
                        Map.of("sources.r0", Agents.listening("avro", ports[i]), "sinks.k0", Agents.intoFiles(outs[i], "null"));
                (i == 0 ? first : second).start(parts, channel, new int[] {ports[i]});
            }
            RpcClient balancing = RpcClientFactory.getInstance(Agents.client("client.type=default_loadbalance", ports));
            for (int i = 0; i < 40; i++) {
                send(balancing, sent, List.of(Events.event(random, 100), Events.event(random, 10)));
            }
            balancing.close();
            for (Path out : outs) {
                Agents.until("half of the events each", () -> Events.read(out).size() >= 40);
                Agents.check(Events.read(out).size() == 40, "round robin: " + Events.read(out).size() + " of 80 events");
            }
            balanced = sent.size();
            RpcClient failover = RpcClientFactory.getInstance(Agents.client("client.type=default_failover", ports));
            send(failover, sent, List.of(Events.event(random, 100)));
            Agents.until("the event at the first host", () -> Events.read(outs[0]).size() == 41);
            first.kill();
            for (int i = 0; i < 40; i++) {
                send(failover, sent, List.of(Events.event(random, 100), Events.event(random, 10)));
            }
            Agents.until("what failed over", () -> Events.read(outs[1]).size() >= 40 + 80);
            failover.close();
        }
        List<Events.Sent> found = new ArrayList<>(Events.read(outs[0]));
        found.addAll(Events.read(outs[1]));
        // The call under way when a host dies may be there and come again.
        Events.same("both hosts", sent, found, false);
        return balanced + " events balanced, " + (sent.size() - balanced) + " failed over from a killed agent";
    }

    /** Avro's own handshake: the protocol that is known, others that mean the same, and one that does not. */
    private static String handshakes(Path place) throws Exception {
        int[] ports = Agents.freePorts(1);
        Path out = Files.createDirectories(place.resolve("out"));
        List<Events.Sent> sent = new ArrayList<>();
        Random random = new Random(11);
        try (Agents.Agent agent = new Agents.Agent(
                place, Map.of("sources.r0", Agents.listening("avro", ports[0]), "sinks.k0", Agents.intoFiles(out, "null")), Agents.MEMORY, ports)) {
            String known = AvroSourceProtocol.PROTOCOL.toString();
            String renamed = known.replaceFirst("\"protocol\":\"AvroSourceProtocol\"", "\"protocol\":\"OfOnesOwn\"");
            String more = known.replaceFirst("\"messages\":\\{", "\"messages\":{\"ping\":{\"request\":[],\"response\":\"null\"},");
            for (String text : List.of(known, renamed, more, renamed)) {
                Protocol protocol = Protocol.parse(text);
                boolean isKnown = Arrays.equals(protocol.getMD5(), AvroSourceProtocol.PROTOCOL.getMD5());
                Agents.check(isKnown == text.equals(known), "another text has another hash");
                for (int i = 0; i < 3; i++) {
                    Events.Sent one = Events.event(random, 20);
                    Object status = append(protocol, ports[0], one);
                    Agents.check(status.toString().equals("OK"), "the answer is " + status);
                    sent.add(one);
                }
            }
            String foreign = known.replaceFirst("\"name\":\"body\",\"type\":\"bytes\"", "\"name\":\"body\",\"type\":\"string\"");
            Agents.check(!foreign.equals(known), "the foreign protocol is another one");
            String refusal = refusal(() -> append(Protocol.parse(foreign), ports[0], Events.event(random, 20)));
            Agents.check(refusal.contains("append"), "the refusal names what differs: " + refusal);
            Events.Sent one = Events.event(random, 20);
            append(AvroSourceProtocol.PROTOCOL, ports[0], one);
            sent.add(one);
        }
        Events.same("handshakes", sent, Events.read(out), true);
        return "known, unknown but alike, and foreign protocols: taken, taken, refused in words";
    }

    private static Object append(Protocol protocol, int port, Events.Sent sent) throws Exception {
        try (NettyTransceiver transceiver = new NettyTransceiver(new InetSocketAddress("127.0.0.1", port), 20_000)) {
            GenericRequestor requestor = new GenericRequestor(protocol, transceiver);
            Schema request = protocol.getMessages().get("append").getRequest();
            GenericRecord event = new GenericData.Record(request.getField("event").schema());
            event.put("headers", sent.headers());
            boolean isBytes = event.getSchema().getField("body").schema().getType() == Schema.Type.BYTES;
            event.put("body", isBytes ? ByteBuffer.wrap(sent.body()) : "text");
            GenericRecord parameters = new GenericData.Record(request);
            parameters.put("event", event);
            return requestor.request("append", parameters);
        }
    }

    /** What is beyond the limits is refused so that the client knows, and affects no other client. */
    private static String tooLarge(Path place) throws Exception {
        int[] ports = Agents.freePorts(2);
        Path[] outs = {Files.createDirectories(place.resolve("a")), Files.createDirectories(place.resolve("t"))};
        List<List<Events.Sent>> all = List.of(new ArrayList<>(), new ArrayList<>());
        Random random = new Random(13);
        try (Agents.Agent agent = new Agents.Agent(
                place,
                Map.of(
                        "sources.r0", Agents.listening("avro maxRequestBytes=100000", ports[0]),
                        "sinks.k0", Agents.intoFiles(outs[0], "null"),
                        "sources.r1", Agents.listening("thrift maxRequestBytes=100000", ports[1]),
                        "sinks.k1", Agents.intoFiles(outs[1], "null")),
                Agents.MEMORY,
                ports)) {
            for (int i = 0; i < 2; i++) {
                Properties properties = Agents.client(i == 1 ? "client.type=thrift" : "", ports[i]);
                RpcClient before = RpcClientFactory.getInstance(properties);
                send(before, all.get(i), List.of(Events.event(random, 10)));
                for (int size : new int[] {100_000, 20_000_000}) {
                    RpcClient large = RpcClientFactory.getInstance(properties);
                    String said = refusal(() -> large.append(Events.event(random, size).event()));
                    Agents.check(i == 1 || said.contains("maxRequestBytes"), "the client is told the setting: " + said);
                    large.close();
                }
                send(before, all.get(i), List.of(Events.event(random, 90_000)));
                before.close();
            }
        }
        Events.same("avro beside what is too large", all.get(0), Events.read(outs[0]), true);
        Events.same("thrift beside what is too large", all.get(1), Events.read(outs[1]), true);
        return "refused, the client of avro in words; others go on";
    }


    /** The words of the exception and of what caused it. */
    private static String refusal(Act act) throws Exception {
        try {
            act.run();
        } catch (EventDeliveryException | AvroRemoteException | AvroRuntimeException refused) {
            StringBuilder words = new StringBuilder();
            for (Throwable cause = refused; cause != null; cause = cause.getCause()) {
                words.append(cause).append("; ");
            }
            return words.toString();
        }
        throw new AssertionError("it was not refused");
    }

    private interface Act {
        void run() throws Exception;
    }
}
