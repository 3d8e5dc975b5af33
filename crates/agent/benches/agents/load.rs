//! Clients: lines, lines with replies, batches over Avro.

use bytes::{Bytes, BytesMut};
use millpond::Event;
use millpond_adapters::wire::avro::call::AvroReply;
use millpond_adapters::wire::avro::exchange::AvroExchange;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Bytes of a line, its newline included.
pub(crate) const LINE_BYTES: usize = 512;

/// The head of a syslog line; used for all other lines too.
const HEAD: &[u8] = b"<13>Nov 21 02:00:00 host tag: ";

/// Lines sent in one write.
const LINES_PER_WRITE: usize = 128;

pub(crate) fn line() -> Vec<u8> {
    let letters = (b'a'..=b'z').chain(b'0'..=b'9').cycle();
    let mut line: Vec<u8> = HEAD.iter().copied().chain(letters).take(LINE_BYTES - 1).collect();
    line.push(b'\n');
    line
}

/// Sends lines as fast as they are accepted; returns their number.
pub(crate) fn pour(socket: &mut TcpStream, time: Duration) -> io::Result<u64> {
    let block = line().repeat(LINES_PER_WRITE);
    let (until, mut lines) = (Instant::now() + time, 0);
    socket.set_write_timeout(Some(Duration::from_secs(60)))?;
    while Instant::now() < until {
        socket.write_all(&block)?;
        lines += LINES_PER_WRITE as u64;
    }
    Ok(lines)
}

/// Sends lines as fast as they are accepted and reads their replies; returns the number of replies.
pub(crate) fn pour_and_hear(socket: &mut TcpStream, time: Duration) -> io::Result<u64> {
    let mut hearing = socket.try_clone()?;
    hearing.set_read_timeout(Some(Duration::from_secs(60)))?;
    std::thread::scope(|scope| {
        let heard = scope.spawn(move || {
            let (mut buffer, mut answers) = (vec![0; 64 * 1024], 0);
            loop {
                match hearing.read(&mut buffer) {
                    Ok(0) | Err(_) => return answers,
                    Ok(n) => answers += buffer[..n].iter().filter(|b| **b == b'\n').count() as u64,
                }
            }
        });
        let sent = pour(socket, time);
        socket.shutdown(std::net::Shutdown::Write)?;
        let heard = heard.join().unwrap();
        sent.map(|_| heard)
    })
}

/// Sends one line at a time, with a pause after each reply; returns the latency of each reply in ms.
pub(crate) fn whisper(
    socket: &mut TcpStream,
    lines: usize,
    pause: Duration,
) -> io::Result<Vec<f64>> {
    let (line, mut took, mut answer) = (line(), Vec::new(), [0; 3]);
    socket.set_nodelay(true)?;
    for _ in 0..lines {
        std::thread::sleep(pause);
        let began = Instant::now();
        socket.write_all(&line)?;
        socket.read_exact(&mut answer)?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(took)
}

/// Sends batches over Avro, one call at a time; returns the number of accepted events.
pub(crate) fn calls(socket: &mut TcpStream, batch: usize, time: Duration) -> io::Result<u64> {
    let event = Event::new(Bytes::from(vec![7; LINE_BYTES]));
    let events = vec![event; batch];
    let (mut exchange, mut input, mut taken) = (AvroExchange::new(), BytesMut::new(), 0);
    let (until, mut piece) = (Instant::now() + time, vec![0; 64 * 1024]);
    socket.set_nodelay(true)?;
    while Instant::now() < until {
        socket.write_all(&exchange.call(&events))?;
        loop {
            match exchange.answer(&mut input).map_err(io::Error::other)? {
                Some(AvroReply::Ok) => break taken += batch as u64,
                // The channel is full: retries after a short pause, like Flume's client.
                Some(_) => break std::thread::sleep(Duration::from_millis(20)),
                None => {
                    let read = socket.read(&mut piece)?;
                    if read == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    input.extend_from_slice(&piece[..read]);
                }
            }
        }
    }
    Ok(taken)
}

/// Requests the page with all counters.
pub(crate) fn scrape(port: u16) -> io::Result<()> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut page = Vec::new();
    socket.read_to_end(&mut page)?;
    let good = page.starts_with(b"HTTP/1.1 200 ");
    good.then_some(()).ok_or_else(|| io::Error::other("no page"))
}
