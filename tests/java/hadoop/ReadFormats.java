import java.io.InputStream;
import java.util.Base64;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.FsShell;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.io.BytesWritable;
import org.apache.hadoop.io.LongWritable;
import org.apache.hadoop.io.SequenceFile;
import org.apache.hadoop.io.Text;
import org.apache.hadoop.io.Writable;
import org.apache.hadoop.io.compress.CompressionCodec;
import org.apache.hadoop.io.compress.CompressionCodecFactory;
import org.apache.hadoop.util.ReflectionUtils;

/**
 * Hadoop's own readers on files of this project. For each file it prints its name, and then a line for each record
 * of a SequenceFile (key, tab, value in base64) or one for a whole stream (base64). `text FILE...` prints what
 * `hadoop fs -text` does with them. `write FILE` writes a small SequenceFile with Hadoop's writer.
 */
public class ReadFormats {
    public static void main(String[] args) throws Exception {
        Configuration conf = new Configuration();
        if (args[0].equals("text")) {
            args[0] = "-text";
            FsShell shell = new FsShell(conf);
            System.exit(shell.run(args));
        }
        if (args[0].equals("write")) {
            write(conf, new Path(args[1]));
            return;
        }
        for (String name : args) {
            Path path = new Path(name);
            System.out.println("file " + path.getName());
            try {
                if (path.getName().startsWith("seq")) records(conf, path); else stream(conf, path);
            } catch (Throwable error) {
                System.out.println("error " + error);
            }
        }
    }

    private static void records(Configuration conf, Path path) throws Exception {
        try (SequenceFile.Reader reader = new SequenceFile.Reader(conf, SequenceFile.Reader.file(path))) {
            LongWritable key = new LongWritable();
            Writable value = (Writable) ReflectionUtils.newInstance(reader.getValueClass(), conf);
            while (reader.next(key, value)) {
                byte[] body = value instanceof Text ? ((Text) value).copyBytes() : ((BytesWritable) value).copyBytes();
                System.out.println(key.get() + "\t" + Base64.getEncoder().encodeToString(body));
            }
        }
    }

    private static void stream(Configuration conf, Path path) throws Exception {
        CompressionCodec codec = new CompressionCodecFactory(conf).getCodec(path);
        InputStream raw = path.getFileSystem(conf).open(path);
        try (InputStream in = codec == null ? raw : codec.createInputStream(raw)) {
            System.out.println(Base64.getEncoder().encodeToString(in.readAllBytes()));
        }
    }

    /** Two batches, each ended by a marker. */
    private static void write(Configuration conf, Path path) throws Exception {
        try (SequenceFile.Writer writer = SequenceFile.createWriter(conf, SequenceFile.Writer.file(path),
                SequenceFile.Writer.keyClass(LongWritable.class), SequenceFile.Writer.valueClass(Text.class),
                SequenceFile.Writer.compression(SequenceFile.CompressionType.NONE))) {
            writer.append(new LongWritable(1700000000123L), new Text("first"));
            writer.append(new LongWritable(-1), new Text(""));
            writer.sync();
            writer.append(new LongWritable(0), new Text("x".repeat(200)));
            writer.sync();
        }
    }
}
