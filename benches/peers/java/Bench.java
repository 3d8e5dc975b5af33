import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.flume.Context;
import org.apache.flume.Event;
import org.apache.flume.Transaction;
import org.apache.flume.channel.file.FileChannel;
import org.apache.flume.conf.Configurables;
import org.apache.flume.event.EventBuilder;

/**
 * What src/slice.rs does, for Flume's own file channel: the same arguments, the same workloads, the
 * same line of JSON at the end.
 */
public final class Bench {
    private static final int POOL_BYTES = 1 << 20;
    private static final int LOAD_BATCH = 1000;
    private static final int LOAD_BYTES = 4 << 20;
    private static final int CAPACITY = 4_000_000;

    private final String workload;
    private final int body;
    private final int batch;
    private final int threads;
    private final List<Path> dirs = new ArrayList<>();
    private final double seconds;
    private final double warm;
    private final long waiting;
    private final long budget;
    private final boolean fill;
    private final byte[][] pool;
    private final long[] sums;

    private Bench(Map<String, String> words) {
        String[] cell = words.get("cell").split(":");
        workload = cell[0];
        body = Integer.parseInt(cell[1]);
        batch = Integer.parseInt(cell[2]);
        threads = Integer.parseInt(cell[3]);
        for (String dir : words.get("dirs").split(",")) {
            dirs.add(Path.of(dir));
        }
        seconds = Double.parseDouble(words.get("seconds"));
        warm = Double.parseDouble(words.get("warm"));
        waiting = Math.min(Long.parseLong(words.get("waiting")), CAPACITY);
        budget = Long.parseLong(words.get("budget"));
        fill = words.containsKey("fill");
        pool = new byte[Math.max(64, Math.min(4096, POOL_BYTES / body))][];
        sums = new long[pool.length];
        drawBodies();
    }

    // ---- bodies: src/bodies.rs

    private void drawBodies() {
        long state = 0x9E3779B97F4A7C15L;
        for (int number = 0; number < pool.length; number++) {
            ByteBuffer bytes = ByteBuffer.allocate(body + 8).order(ByteOrder.LITTLE_ENDIAN);
            bytes.putInt(number);
            while (bytes.position() < body) {
                state ^= state << 13;
                state ^= state >>> 7;
                state ^= state << 17;
                bytes.putLong(state);
            }
            pool[number] = Arrays.copyOf(bytes.array(), body);
            sums[number] = sum(pool[number]);
        }
    }

    private static long sum(byte[] body) {
        ByteBuffer bytes = ByteBuffer.wrap(body).order(ByteOrder.LITTLE_ENDIAN);
        long sum = body.length;
        while (bytes.remaining() >= 8) {
            sum += bytes.getLong();
        }
        while (bytes.hasRemaining()) {
            sum += bytes.get() & 0xFF;
        }
        return sum;
    }

    private boolean knows(byte[] bytes) {
        int number = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).getInt();
        return number >= 0 && number < pool.length && Arrays.equals(pool[number], bytes);
    }

    /** Counts, and times of transactions in steps of 100 ns, of one thread or of all. */
    private static final class Share {
        private long events;
        private long sum;
        private long strange;
        private long end;
        private int[] times = new int[1 << 12];
        private int count;

        private void time(long nanos) {
            if (count == times.length) {
                times = Arrays.copyOf(times, 2 * count);
            }
            times[count++] = (int) Math.min(nanos / 100, Integer.MAX_VALUE);
        }

        private void join(Share other) {
            events += other.events;
            sum += other.sum;
            strange += other.strange;
            end = Math.max(end, other.end);
            for (int at = 0; at < other.count; at++) {
                time(other.times[at] * 100L);
            }
        }

        private String figures() {
            Arrays.sort(times, 0, count);
            double[] shares = {0.5, 0.99, 0.999, 1.0};
            return Arrays.stream(shares)
                    .mapToObj(s -> count == 0 ? 0.0 : times[(int) Math.round((count - 1) * s)] / 10.0)
                    .map(us -> String.format(Locale.ROOT, "%.1f", us))
                    .collect(Collectors.joining(",", "[", "]"));
        }
    }

    // ---- the store

    private FileChannel open(Path checkpoint, List<Path> data) {
        Context context = new Context();
        context.put("checkpointDir", checkpoint.resolve("checkpoint").toString());
        context.put("dataDirs", data.stream().map(dir -> dir.resolve("data").toString())
                .collect(Collectors.joining(",")));
        context.put("capacity", "" + CAPACITY);
        context.put("transactionCapacity", "10000");
        FileChannel channel = new FileChannel();
        channel.setName("peers-" + checkpoint.getFileName());
        Configurables.configure(channel, context);
        channel.start();
        if (!channel.isOpen()) {
            throw new IllegalStateException("the channel did not open");
        }
        return channel;
    }

    /** One transaction, as Flume's manual has it. */
    private static void commit(FileChannel channel, Runnable work) {
        Transaction transaction = channel.getTransaction();
        transaction.begin();
        try {
            work.run();
            transaction.commit();
        } catch (Throwable error) {
            transaction.rollback();
            throw error;
        } finally {
            transaction.close();
        }
    }

    private void put(FileChannel channel, long first, int count, Share share) {
        commit(channel, () -> {
            for (int at = 0; at < count; at++) {
                channel.put(EventBuilder.withBody(pool[(int) ((first + at) % pool.length)]));
            }
        });
        for (int at = 0; at < count; at++) {
            share.sum += sums[(int) ((first + at) % pool.length)];
        }
        share.events += count;
    }

    private int take(FileChannel channel, int most, Share share, boolean closely) {
        int[] taken = {0};
        commit(channel, () -> {
            for (Event event; taken[0] < most && (event = channel.take()) != null; taken[0]++) {
                share.sum += sum(event.getBody());
                share.strange += closely && !knows(event.getBody()) ? 1 : 0;
            }
        });
        share.events += taken[0];
        return taken[0];
    }

    private Share load(FileChannel channel, long count) {
        Share share = new Share();
        int most = Math.max(1, Math.min(LOAD_BATCH, LOAD_BYTES / body));
        while (share.events < count) {
            put(channel, share.events, (int) Math.min(most, count - share.events), share);
        }
        return share;
    }

    private Share drain(FileChannel channel) {
        Share share = new Share();
        while (take(channel, Math.max(batch, LOAD_BATCH), share, true) > 0) {
        }
        return share;
    }

    // ---- the measured time

    private final class Window {
        private final FileChannel channel;
        private final AtomicLong left;
        private final CountDownLatch start = new CountDownLatch(1);
        private final Share put = new Share();
        private final Share taken = new Share();
        private volatile boolean stop;
        private volatile Throwable failed;
        private double took;

        private Window(FileChannel channel, long budget) {
            this.channel = channel;
            left = new AtomicLong(budget / body);
        }

        private void run(double seconds, long began) throws Exception {
            boolean puts = !workload.equals("hot") && !workload.equals("cold");
            boolean takes = !workload.equals("produce");
            List<Thread> all = new ArrayList<>();
            List<Share> shares = new ArrayList<>();
            for (int thread = 0; thread < 2 * threads; thread++) {
                boolean taker = thread >= threads;
                if (taker ? !takes : !puts) {
                    continue;
                }
                Share share = new Share();
                int lane = thread % threads;
                shares.add(share);
                all.add(new Thread(() -> work(taker, lane, puts, share), taker ? "take" : "put"));
            }
            all.forEach(Thread::start);
            long now = System.nanoTime();
            long first = began == 0 ? now : began;
            start.countDown();
            long end = now + (long) (seconds * 1e9);
            while (System.nanoTime() < end && all.stream().allMatch(Thread::isAlive)) {
                Thread.sleep(1);
            }
            if (puts || System.nanoTime() >= end) {
                stop = true;
            }
            for (int at = 0; at < all.size(); at++) {
                all.get(at).join();
                (all.get(at).getName().equals("take") ? taken : put).join(shares.get(at));
            }
            if (failed != null) {
                throw new IllegalStateException(failed);
            }
            took = Math.max(1, Math.max(put.end, taken.end) - first) / 1e9;
        }

        private void work(boolean taker, int lane, boolean puts, Share share) {
            try {
                start.await();
                long first = lane * 131L;
                while (!stop) {
                    long began = System.nanoTime();
                    if (taker) {
                        if (take(channel, batch, share, false) == 0) {
                            if (!puts) {
                                return;
                            }
                            Thread.sleep(0, 100_000);
                            continue;
                        }
                    } else {
                        if (left.getAndAdd(-batch) < batch) {
                            return;
                        }
                        put(channel, first, batch, share);
                        first += batch;
                    }
                    share.end = System.nanoTime();
                    share.time(share.end - began);
                }
            } catch (Throwable error) {
                failed = error;
                stop = true;
            }
        }
    }

    /** The same work on a channel that is thrown away, so that the code is compiled. */
    private void warmUp() throws Exception {
        Path at = dirs.get(0).resolve("warm");
        FileChannel channel = open(at, List.of(at));
        long end = System.nanoTime() + (long) (warm * 1e9);
        boolean puts = !workload.equals("hot") && !workload.equals("cold");
        while (System.nanoTime() < end) {
            if (!puts) {
                load(channel, Math.min(waiting, 100L * Math.max(batch, 100)));
            }
            new Window(channel, Math.max(budget, body)).run((end - System.nanoTime()) / 1e9, 0);
            if (puts) {
                break;
            }
        }
        channel.stop();
        try (Stream<Path> files = Files.walk(at)) {
            files.sorted(Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
        }
    }

    private String measure() throws Exception {
        if (fill) {
            FileChannel channel = open(dirs.get(0), dirs);
            load(channel, waiting);
            channel.stop();
            return "{\"put\":0,\"taken\":0,\"seconds\":0,\"put_us\":[0,0,0,0],\"take_us\":[0,0,0,0],"
                    + "\"cpu_us\":0,\"written\":0,\"device\":null,\"on_disk\":0,\"peak\":0,\"verified\":0}";
        }
        warmUp();
        boolean cold = workload.equals("cold");
        Share loaded = new Share();
        FileChannel channel = null;
        if (cold) {
            for (long n = 0; n < waiting; n++) {
                loaded.sum += sums[(int) (n % pool.length)];
            }
            loaded.events = waiting;
        } else {
            channel = open(dirs.get(0), dirs);
            loaded = load(channel, waiting);
        }
        System.gc();
        Files.writeString(Path.of("/proc/self/clear_refs"), "5");
        Used before = new Used(dirs.get(0));
        long began = cold ? System.nanoTime() : 0;
        if (cold) {
            channel = open(dirs.get(0), dirs);
        }
        Window window = new Window(channel, budget);
        window.run(seconds, began);
        Used used = new Used(dirs.get(0));
        long peak = proc("/proc/self/status", "VmHWM:") * 1024;
        long onDisk = 0;
        for (Path dir : dirs) {
            onDisk += below(dir);
        }
        loaded.join(window.put);
        if (workload.equals("produce")) {
            channel.stop();
            channel = open(dirs.get(0), dirs);
        }
        Share came = drain(channel);
        long left = came.events;
        came.join(window.taken);
        channel.stop();
        if (came.strange > 0) {
            return failed(came.strange + " of " + left + " events came out that were not put");
        }
        if (came.events != loaded.events) {
            return failed(loaded.events + " events were put and " + came.events + " came out");
        }
        if (came.sum != loaded.sum) {
            return failed(came.events + " events came out, with other bytes");
        }
        return String.format(Locale.ROOT,
                "{\"put\":%d,\"taken\":%d,\"seconds\":%.6f,\"put_us\":%s,\"take_us\":%s,\"cpu_us\":%.1f,"
                        + "\"written\":%d,\"device\":%s,\"on_disk\":%d,\"peak\":%d,\"verified\":%d}",
                window.put.events, window.taken.events, window.took, window.put.figures(),
                window.taken.figures(), used.cpuMicros - before.cpuMicros,
                used.written - before.written,
                used.device < 0 ? "null" : "" + (used.device - before.device), onDisk, peak,
                came.events);
    }

    // ---- what the kernel says: src/machine.rs

    private static final class Used {
        private final double cpuMicros;
        private final long written;
        private final long device;

        private Used(Path dir) throws IOException {
            cpuMicros = ((com.sun.management.OperatingSystemMXBean)
                    ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime() / 1e3;
            written = proc("/proc/self/io", "write_bytes:");
            device = deviceWritten(dir);
        }
    }

    private static long proc(String file, String key) throws IOException {
        for (String line : Files.readAllLines(Path.of(file))) {
            if (line.startsWith(key)) {
                return Long.parseLong(line.replaceAll("\\D", ""));
            }
        }
        return 0;
    }

    private static long deviceWritten(Path dir) throws IOException {
        long number = ((Number) Files.getAttribute(dir, "unix:dev")).longValue();
        String major = "" + (number >>> 8 & 0xFFF | number >>> 32 & ~0xFFFL);
        String minor = "" + (number & 0xFF | number >>> 12 & ~0xFFL);
        for (String line : Files.readAllLines(Path.of("/proc/diskstats"))) {
            String[] words = line.trim().split("\\s+");
            if (words[0].equals(major) && words[1].equals(minor)) {
                return Long.parseLong(words[9]) * 512;
            }
        }
        return -1;
    }

    private static long below(Path dir) throws IOException {
        try (Stream<Path> files = Files.walk(dir)) {
            return files.filter(Files::isRegularFile).mapToLong(path -> path.toFile().length()).sum();
        }
    }

    private static String failed(String words) {
        return "{\"failed\":\"" + words.replaceAll("[\"\\\\\\p{Cntrl}]", " ") + "\"}";
    }

    public static void main(String[] arguments) {
        Map<String, String> words = new HashMap<>();
        for (String argument : arguments) {
            String[] parts = argument.substring(2).split("=", 2);
            words.put(parts[0], parts.length > 1 ? parts[1] : "");
        }
        int status = 0;
        String line;
        try {
            line = new Bench(words).measure();
        } catch (Throwable error) {
            line = failed(error.toString());
            status = 1;
        }
        System.out.println(line);
        System.out.flush();
        Runtime.getRuntime().halt(status);
    }
}
