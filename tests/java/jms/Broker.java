import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.activemq.artemis.api.core.RoutingType;
import org.apache.activemq.artemis.api.core.SimpleString;
import org.apache.activemq.artemis.core.config.impl.ConfigurationImpl;
import org.apache.activemq.artemis.core.config.impl.SecurityConfiguration;
import org.apache.activemq.artemis.core.security.Role;
import org.apache.activemq.artemis.core.server.JournalType;
import org.apache.activemq.artemis.core.server.embedded.EmbeddedActiveMQ;
import org.apache.activemq.artemis.core.settings.impl.AddressSettings;
import org.apache.activemq.artemis.spi.core.security.ActiveMQJAASSecurityManager;
import org.apache.activemq.artemis.spi.core.security.jaas.InVMLoginModule;

/**
 * A broker for the tests of the jms source: PORT TLS_PORT KEYSTORE DIR. Its user is "pond" with the password "geheim"; a
 * message that was tried ten times goes to the queue DLQ.
 */
public class Broker {
    public static void main(String[] arguments) throws Exception {
        String protocols = "protocols=CORE,AMQP";
        ConfigurationImpl settings = new ConfigurationImpl();
        settings.addAcceptorConfiguration("plain", "tcp://127.0.0.1:" + arguments[0] + "?" + protocols);
        settings.addAcceptorConfiguration("tls", "tcp://127.0.0.1:" + arguments[1] + "?" + protocols
            + ";sslEnabled=true;keyStorePath=" + arguments[2] + ";keyStorePassword=geheim");
        String place = arguments[3];
        settings.setJournalDirectory(place + "/journal");
        settings.setBindingsDirectory(place + "/bindings");
        settings.setPagingDirectory(place + "/paging");
        settings.setLargeMessagesDirectory(place + "/large");
        settings.setJournalType(JournalType.NIO);
        settings.setJournalFileSize(1 << 20);
        settings.setJournalMinFiles(2);
        settings.setMaxDiskUsage(-1);
        settings.putSecurityRoles("#", Set.of(
            new Role("all", true, true, true, true, true, true, true, true, true, true, false, false)));
        AddressSettings addresses = new AddressSettings();
        addresses.setAutoDeleteQueues(false);
        addresses.setAutoDeleteAddresses(false);
        addresses.setDefaultAddressRoutingType(RoutingType.ANYCAST);
        addresses.setDefaultQueueRoutingType(RoutingType.ANYCAST);
        addresses.setDeadLetterAddress(SimpleString.of("DLQ"));
        addresses.setMaxDeliveryAttempts(10);
        settings.addAddressSetting("#", addresses);
        SecurityConfiguration users =
            new SecurityConfiguration(Map.of("pond", "geheim"), Map.of("pond", List.of("all")));
        EmbeddedActiveMQ broker = new EmbeddedActiveMQ();
        broker.setConfiguration(settings);
        broker.setSecurityManager(new ActiveMQJAASSecurityManager(InVMLoginModule.class.getName(), users));
        broker.start();
        Thread.currentThread().join();
    }
}
