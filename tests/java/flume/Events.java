import static java.lang.Integer.parseInt;

import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.apache.avro.file.DataFileReader;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.flume.Event;
import org.apache.flume.event.EventBuilder;

/** Events as they are sent and as they are found in files, by Avro's own reader. */
final class Events {
    private static int numbers;

    private Events() {}

    /** An event as it was sent or read. */
    record Sent(Map<String, String> headers, byte[] body) {
        Event event() {
            return EventBuilder.withBody(body, headers);
        }

        boolean same(Sent other) {
            return headers.equals(other.headers) && Arrays.equals(body, other.body);
        }

        @Override
        public String toString() {
            return headers + " and " + body.length + " bytes";
        }
    }

    static Sent event(Random random, int bytes) {
        byte[] body = new byte[bytes];
        random.nextBytes(body);
        Map<String, String> headers = new HashMap<>();
        headers.put("n", Integer.toString(numbers++));
        if (random.nextInt(3) == 0) {
            headers.put("host", "h" + random.nextInt(9));
        }
        return new Sent(headers, body);
    }

    static List<Event> events(List<Sent> batch) {
        return new ArrayList<>(batch.stream().map(Sent::event).toList());
    }

    /** The events in a directory of Avro files. */
    static List<Sent> read(Path out) throws IOException {
        List<Sent> found = new ArrayList<>();
        for (GenericRecord record : records(out)) {
            Map<String, String> headers = new HashMap<>();
            ((Map<?, ?>) record.get("headers")).forEach((k, v) -> headers.put(k.toString(), v.toString()));
            ByteBuffer body = (ByteBuffer) record.get("body");
            byte[] bytes = new byte[body.remaining()];
            body.get(bytes);
            found.add(new Sent(headers, bytes));
        }
        return found;
    }

    /** The records in a directory of Avro files. */
    static List<GenericRecord> records(Path out) throws IOException {
        List<GenericRecord> found = new ArrayList<>();
        File[] files = out.toFile().listFiles(File::isFile);
        Arrays.sort(files, (a, b) -> Long.compare(counter(a), counter(b)));
        for (File file : files) {
            if (file.length() == 0) {
                continue;
            }
            try (DataFileReader<GenericRecord> reader = new DataFileReader<>(file, new GenericDatumReader<>())) {
                reader.forEach(found::add);
            }
        }
        return found;
    }

    static long counter(File file) {
        return Long.parseLong(file.getName().replaceAll("[0-9]+-", ""));
    }

    /** The same events: in order and each once or, where a call may have been made twice, all and no others. */
    static void same(String what, List<Sent> sent, List<Sent> found, boolean once) {
        if (!once) {
            sent = new ArrayList<>(sent);
            found = unique(what, found);
            sent.sort((a, b) -> number(a) - number(b));
            found.sort((a, b) -> number(a) - number(b));
        }
        for (int i = 0; i < Math.min(sent.size(), found.size()); i++) {
            Agents.check(sent.get(i).same(found.get(i)), what + ", event " + i + ": " + sent.get(i) + " became " + found.get(i));
        }
        Agents.check(sent.size() == found.size(), what + ": " + sent.size() + " events became " + found.size());
    }

    static int number(Sent one) {
        return parseInt(one.headers.get("n"));
    }

    static List<Sent> unique(String what, List<Sent> found) {
        Map<Integer, Sent> seen = new HashMap<>();
        for (Sent one : found) {
            Sent other = seen.putIfAbsent(number(one), one);
            Agents.check(other == null || other.same(one), what + ": " + one + " is there twice and not the same");
        }
        Agents.check(found.size() - seen.size() <= 100, what + ": more than a call is there twice");
        return new ArrayList<>(seen.values());
    }
}
