import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import javax.jms.BytesMessage;
import javax.jms.DeliveryMode;
import javax.jms.Destination;
import javax.jms.JMSContext;
import javax.jms.JMSProducer;
import javax.jms.MapMessage;
import javax.jms.Message;
import javax.jms.ObjectMessage;
import javax.jms.QueueBrowser;
import javax.jms.StreamMessage;
import javax.jms.TextMessage;
import org.apache.activemq.artemis.jms.client.ActiveMQConnectionFactory;

/**
 * A JMS client for the tests of the jms source, at PORT:
 * send queue|topic NAME PREFIX COUNT; types NAME; selected NAME; large NAME BYTES; count NAME.
 */
public class Messages {
    public static void main(String[] words) throws Exception {
        try (ActiveMQConnectionFactory factory = new ActiveMQConnectionFactory("tcp://127.0.0.1:" + words[0]);
             JMSContext session = factory.createContext("pond", "geheim", JMSContext.SESSION_TRANSACTED)) {
            switch (words[1]) {
                case "send":
                    Destination to = words[2].equals("topic") ? session.createTopic(words[3]) : session.createQueue(words[3]);
                    for (int number = 0; number < Integer.parseInt(words[5]); number++) {
                        send(session, to, session.createTextMessage(words[4] + number));
                    }
                    break;
                case "types":
                    types(session, session.createQueue(words[2]));
                    break;
                case "selected":
                    for (String colour : List.of("red", "green", "red")) {
                        TextMessage message = session.createTextMessage("it is " + colour);
                        message.setStringProperty("colour", colour);
                        message.setIntProperty("size", colour.length());
                        send(session, session.createQueue(words[2]), message);
                    }
                    break;
                case "large":
                    String text = String.join("", Collections.nCopies(Integer.parseInt(words[3]), "x"));
                    send(session, session.createQueue(words[2]), session.createTextMessage(text));
                    break;
                case "count":
                    try (QueueBrowser browser = session.createBrowser(session.createQueue(words[2]))) {
                        System.out.println(Collections.list(browser.getEnumeration()).size());
                    }
                    break;
                default:
                    throw new IllegalArgumentException(words[1]);
            }
            session.commit();
        }
    }

    private static void types(JMSContext session, Destination to) throws Exception {
        TextMessage text = session.createTextMessage("text 日志");
        text.setStringProperty("word", "é");
        text.setDoubleProperty("whole", 3);
        text.setFloatProperty("part", 1.5f);
        text.setLongProperty("large", 12345678901L);
        text.setBooleanProperty("yes", true);
        text.setByteProperty("minus", (byte) -1);
        text.setJMSType("kind");
        text.setJMSCorrelationID("c-1");
        send(session, to, text);
        BytesMessage bytes = session.createBytesMessage();
        bytes.writeBytes(new byte[] {(byte) 0xff, 0, 'b'});
        send(session, to, bytes);
        MapMessage map = session.createMapMessage();
        map.setString("key", "value");
        send(session, to, map);
        StreamMessage stream = session.createStreamMessage();
        stream.writeString("value");
        send(session, to, stream);
        ObjectMessage object = session.createObjectMessage(new ArrayList<>(List.of("value")));
        send(session, to, object);
        send(session, to, session.createMessage());
    }

    private static void send(JMSContext session, Destination to, Message message) {
        JMSProducer producer = session.createProducer();
        producer.setDeliveryMode(DeliveryMode.PERSISTENT);
        producer.send(to, message);
    }
}
