//! Packets of Ganglia's protocol, in XDR (RFC 4506).

/// Bytes of a packet, as in Flume: more do not fit an Ethernet frame.
pub(super) const PACKET_BYTES_MAX: usize = 1500;

/// What Flume sends of every metric.
const UNITS: &str = "";
/// The values are as they are: no rates are made of them.
const SLOPE: u32 = 3;
/// Seconds after which a value is old.
const TMAX: u32 = 60;
/// Seconds after which a metric is forgotten; 0 for never.
const DMAX: u32 = 0;

/// One metric.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric<'a> {
    pub(super) host: &'a str,
    pub(super) name: &'a str,
    pub(super) value: &'a str,
}

impl Metric<'_> {
    /// As Ganglia 3.0 reads it: one packet.
    pub(super) fn of_3_0(&self) -> Vec<u8> {
        Packet::new(0)
            .text(self.kind())
            .text(&format!("{}.{}", self.host, self.name))
            .text(self.value)
            .text(UNITS)
            .number(SLOPE)
            .number(TMAX)
            .number(DMAX)
            .0
    }

    /// As Ganglia 3.1 and later read it: what it is, and its value.
    pub(super) fn of_3_1(&self) -> [Vec<u8>; 2] {
        let is = Packet::new(128)
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
        let value =
            Packet::new(133).text(self.host).text(self.name).number(0).text("%s").text(self.value);
        [is.0, value.0]
    }

    fn kind(&self) -> &'static str {
        if self.value.parse::<f32>().is_ok() { "float" } else { "string" }
    }
}

struct Packet(Vec<u8>);

impl Packet {
    fn new(id: u32) -> Self {
        Self(Vec::with_capacity(256)).number(id)
    }

    fn number(mut self, n: u32) -> Self {
        self.0.extend(n.to_be_bytes());
        self
    }

    /// Its length, its bytes, and zeroes up to a multiple of four.
    fn text(self, text: &str) -> Self {
        let mut packet = self.number(u32::try_from(text.len()).unwrap_or(u32::MAX));
        packet.0.extend(text.as_bytes());
        packet.0.resize(packet.0.len().next_multiple_of(4), 0);
        packet
    }
}
