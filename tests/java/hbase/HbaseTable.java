import java.nio.charset.StandardCharsets;
import org.apache.hadoop.hbase.Cell;
import org.apache.hadoop.hbase.CellUtil;
import org.apache.hadoop.hbase.HBaseConfiguration;
import org.apache.hadoop.hbase.TableName;
import org.apache.hadoop.hbase.client.Admin;
import org.apache.hadoop.hbase.client.ColumnFamilyDescriptorBuilder;
import org.apache.hadoop.hbase.client.Connection;
import org.apache.hadoop.hbase.client.ConnectionFactory;
import org.apache.hadoop.hbase.client.Result;
import org.apache.hadoop.hbase.client.Scan;
import org.apache.hadoop.hbase.client.Table;
import org.apache.hadoop.hbase.client.TableDescriptorBuilder;
import org.apache.hadoop.hbase.util.Bytes;

/**
 * Makes and reads tables with HBase's own client, for the tests named real_hbase.
 *
 * <p>{@code create TABLE FAMILY...}; {@code scan TABLE} prints a line for each cell: row, column, value, separated by
 * tabs; a value of eight bytes that begins with a zero byte is a counter and is printed as a number.
 */
public final class HbaseTable {
  public static void main(String[] args) throws Exception {
    TableName name = TableName.valueOf(args[1]);
    try (Connection connection = ConnectionFactory.createConnection(HBaseConfiguration.create())) {
      if (args[0].equals("create")) {
        TableDescriptorBuilder table = TableDescriptorBuilder.newBuilder(name);
        for (int i = 2; i < args.length; i++) {
          table.setColumnFamily(ColumnFamilyDescriptorBuilder.of(args[i]));
        }
        try (Admin admin = connection.getAdmin()) {
          admin.createTable(table.build());
        }
        return;
      }
      StringBuilder out = new StringBuilder();
      try (Table table = connection.getTable(name)) {
        for (Result row : table.getScanner(new Scan())) {
          for (Cell cell : row.rawCells()) {
            byte[] value = CellUtil.cloneValue(cell);
            boolean counts = value.length == 8 && value[0] == 0;
            out.append(text(CellUtil.cloneRow(cell))).append('\t')
                .append(text(CellUtil.cloneFamily(cell))).append(':')
                .append(text(CellUtil.cloneQualifier(cell))).append('\t')
                .append(counts ? Long.toString(Bytes.toLong(value)) : text(value)).append('\n');
          }
        }
      }
      System.out.write(out.toString().getBytes(StandardCharsets.UTF_8));
      System.out.flush();
    }
  }

  private static String text(byte[] bytes) {
    return new String(bytes, StandardCharsets.UTF_8);
  }
}
