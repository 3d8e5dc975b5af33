//! Packets of Ganglia's protocol, in XDR (RFC 4506).

/// Bytes of a packet, as in Flume: more do not fit an Ethernet frame.
pub(super) const PACKET_BYTES_MAX: usize = 1500;

/// The unit that Flume sends with every metric.
const UNITS: &str = "";
/// The values are absolute: no rates are computed.
const SLOPE: u32 = 3;
/// Seconds after which a value is old.
const TMAX: u32 = 60;
/// Seconds after which a metric is forgotten; 0 for never.
const DMAX: u32 = 0;

/// One metric.
#[derive(Clone, Copy, Debug)]
pub(super) struct GangliaMetric<'a> {
    pub(super) host: &'a str,
    pub(super) name: &'a str,
    pub(super) value: &'a str,
}

impl GangliaMetric<'_> {
    /// Encodes it for Ganglia 3.0: one packet.
    pub(super) fn of_3_0(&self) -> Vec<u8> {
        XdrPacket::new(0)
            .text(self.kind())
            .text(&format!("{}.{}", self.host, self.name))
            .text(self.value)
            .text(UNITS)
            .number(SLOPE)
            .number(TMAX)
            .number(DMAX)
            .0
    }

    /// Encodes it for Ganglia 3.1 and later: description and value.
    pub(super) fn of_3_1(&self) -> [Vec<u8>; 2] {
        let is = XdrPacket::new(128)
            .text(self.host)
            .text(self.name)
            .number(0)
            .text(self.kind())
            .text(self.name)
            .text(UNITS)
            .number(SLOPE)
            .number(TMAX)
            .number(DMAX)
            .number(1)
            .text("GROUP")
            .text("flume");
        let value = XdrPacket::new(133)
            .text(self.host)
            .text(self.name)
            .number(0)
            .text("%s")
            .text(self.value);
        [is.0, value.0]
    }

    fn kind(&self) -> &'static str {
        if self.value.parse::<f32>().is_ok() { "float" } else { "string" }
    }
}

struct XdrPacket(Vec<u8>);

impl XdrPacket {
    fn new(id: u32) -> Self {
        Self(Vec::with_capacity(256)).number(id)
    }

    fn number(mut self, n: u32) -> Self {
        self.0.extend(n.to_be_bytes());
        self
    }

    /// Appends its length, its bytes, and zeroes up to a multiple of four.
    fn text(self, text: &str) -> Self {
        let mut packet = self.number(u32::try_from(text.len()).unwrap_or(u32::MAX));
        packet.0.extend(text.as_bytes());
        packet.0.resize(packet.0.len().next_multiple_of(4), 0);
        packet
    }
}
