import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.flume.Context;
import org.apache.flume.Event;
import org.apache.flume.Transaction;
import org.apache.flume.channel.file.FileChannel;
import org.apache.flume.conf.Configurables;
import org.apache.flume.event.EventBuilder;

/**
 * The worker of src/worker.rs for Flume's own file channel: the same arguments without the engine,
 * the same lines on stdout, the same bodies from the same seed.
 */
public final class Driver {
    private static final long GOLDEN = 0x9E3779B97F4A7C15L;
    private static final int PUT_MOST = 8;
    private static final int TAKE_MOST = 12;
    private static final int DRAIN = 32;
    private static final int BODY_MOST = 600;
    private static final int FILL_BODY_MOST = 4096;
    private static final int FILL = 32;
    private static final int FILL_PUTS = 20_000;
    private static final int PATIENCE = 5;
    private static final int ROOM_TRIES = 80;
    private static final int NOT_OPEN = 3;

    /** Not System.out: each line is one write, so that what was said before a kill is whole. */
    private static final FileOutputStream OUT = new FileOutputStream(FileDescriptor.out);

    private final FileChannel channel;
    private final long seed;
    private long next;

    private Driver(FileChannel channel, long seed, long next) {
        this.channel = channel;
        this.seed = seed;
        this.next = next;
    }

    // ---- drawing: src/draw.rs, line by line

    static long mix(long word) {
        long z = word + GOLDEN;
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }

    static final class Draw {
        private long state;

        Draw(long seed) {
            state = mix(seed);
        }

        long next() {
            state += GOLDEN;
            return mix(state);
        }

        long below(long bound) {
            return Long.remainderUnsigned(next(), bound);
        }
    }

    static long hash(byte[] bytes) {
        long hash = 0xCBF29CE484222325L;
        for (byte b : bytes) {
            hash = (hash ^ (b & 0xFF)) * 0x100000001B3L;
        }
        return hash;
    }

    static byte[] body(long seed, long sequence, int largest) {
        Draw draw = new Draw(seed ^ mix(sequence));
        int len = 24 + (int) draw.below(largest - 24);
        ByteBuffer body = ByteBuffer.allocate(len + 8).putLong(sequence);
        while (body.position() < len) {
            body.putLong(draw.next());
        }
        return Arrays.copyOf(body.array(), len);
    }

    // ---- the store

    private static FileChannel open(Path dir) {
        Context context = new Context();
        context.put("checkpointDir", dir.resolve("checkpoint").toString());
        context.put("dataDirs", dir.resolve("data").toString());
        context.put("capacity", "100000");
        context.put("transactionCapacity", "1000");
        context.put("minimumRequiredSpace", "1048576");
        context.put("keep-alive", "1");
        FileChannel channel = new FileChannel();
        channel.setName("league");
        Configurables.configure(channel, context);
        channel.start();
        return channel;
    }

    private boolean put(int count, int largest) {
        long end = next + count;
        List<Event> events = new ArrayList<>();
        for (long n = next; n < end; n++) {
            events.add(EventBuilder.withBody(body(seed, n, largest)));
        }
        say("put " + next + " " + end);
        next = end;
        try {
            commit(() -> {
                for (Event event : events) {
                    channel.put(event);
                }
            });
            say("kept");
            return true;
        } catch (Throwable error) {
            say("not " + words(error));
            return false;
        }
    }

    /** Events taken, or -1: the take failed. */
    private int take(int most) {
        int[] taken = {0};
        try {
            commit(() -> taken[0] = deliver(most));
            say("taken");
            return taken[0];
        } catch (Throwable error) {
            say("untaken " + words(error));
            return -1;
        }
    }

    private int deliver(int most) {
        StringBuilder lines = new StringBuilder();
        int taken = 0;
        for (Event event; taken < most && (event = channel.take()) != null; taken++) {
            byte[] body = event.getBody();
            String claimed =
                    body.length < 8 ? "?" : Long.toUnsignedString(ByteBuffer.wrap(body).getLong());
            lines.append("got ").append(claimed).append(' ').append(body.length).append(' ')
                    .append(Long.toHexString(hash(body))).append('\n');
        }
        if (taken > 0) {
            say(lines.toString().stripTrailing());
        }
        return taken;
    }

    /** One transaction, as Flume's manual has it. What rolling back or closing throws is no news. */
    private void commit(Runnable work) {
        Transaction transaction = channel.getTransaction();
        transaction.begin();
        try {
            work.run();
            transaction.commit();
        } catch (Throwable error) {
            quietly(transaction::rollback);
            throw error;
        } finally {
            quietly(transaction::close);
        }
    }

    private static void quietly(Runnable end) {
        try {
            end.run();
        } catch (Throwable error) {
            System.err.println("ERROR at the end of a transaction: " + words(error));
        }
    }

    // ---- the work: src/worker.rs

    private void work(long times) {
        Draw draw = new Draw(seed ^ next ^ hash("work".getBytes(StandardCharsets.UTF_8)));
        int failures = 0;
        for (long i = 0; i < times && failures < PATIENCE; i++) {
            boolean kept = put(1 + (int) draw.below(PUT_MOST), BODY_MOST);
            int most = 1 + (int) draw.below(TAKE_MOST);
            boolean taken = draw.below(3) != 0 || take(most) >= 0;
            failures = kept && taken ? 0 : failures + 1;
        }
    }

    private void fill() throws IOException, InterruptedException {
        int failures = 0;
        for (int i = 0; i < FILL_PUTS && failures < PATIENCE; i++) {
            failures = put(FILL, FILL_BODY_MOST) ? 0 : failures + 1;
        }
        say("phase full");
        for (int i = 0; i < 20 && take(DRAIN) >= 0; i++) {
        }
        say("phase taken");
        System.in.read();
        for (int i = 0; i < ROOM_TRIES && !put(FILL, FILL_BODY_MOST); i++) {
            Thread.sleep(250);
        }
    }

    private void drain() {
        int failures = 0;
        while (failures < PATIENCE) {
            int taken = take(DRAIN);
            if (taken == 0) {
                return;
            }
            failures = taken < 0 ? failures + 1 : 0;
        }
    }

    // ---- saying it

    private static void say(String line) {
        try {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            bytes.write((line + "\n").getBytes(StandardCharsets.UTF_8));
            OUT.write(bytes.toByteArray());
        } catch (IOException noReader) {
            Runtime.getRuntime().halt(1);
        }
    }

    private static String words(Throwable error) {
        Throwable cause = error;
        while (cause.getCause() != null) {
            cause = cause.getCause();
        }
        String own = error.toString();
        return (cause == error ? own : own + ": " + cause).replace('\n', ' ').replace('\r', ' ');
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("figures")) {
            byte[] body = body(42, 5, BODY_MOST);
            say(Long.toHexString(mix(1)) + " " + body.length + " " + Long.toHexString(hash(body)));
            return;
        }
        Thread.currentThread().setUncaughtExceptionHandler((thread, error) -> {
            System.err.println("ERROR uncaught: " + words(error));
            Runtime.getRuntime().halt(1);
        });
        FileChannel channel = open(Path.of(arguments[0]));
        if (!channel.isOpen()) {
            // It starts all the same and keeps its reason for the first transaction.
            String why = "the channel did not open";
            try {
                channel.getTransaction();
            } catch (Throwable error) {
                why = words(error);
            }
            say("fails " + why);
            Runtime.getRuntime().halt(NOT_OPEN);
        }
        say("open");
        Driver driver = new Driver(channel, Long.parseLong(arguments[2]), Long.parseLong(arguments[3]));
        switch (arguments[1]) {
            case "work" -> driver.work(Long.parseLong(arguments[4]));
            case "fill" -> driver.fill();
            default -> driver.drain();
        }
        try {
            channel.stop();
            say("closed");
        } catch (Throwable error) {
            // A supervisor of Flume's logs it and goes on.
            say("fails " + words(error));
        }
        System.exit(0);
    }
}
