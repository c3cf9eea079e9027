//! One loopback connection: the sender on the generator's core, the receiver on the broker's.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use super::Rate;
use crate::machine::{BROKER_CORE, LOAD_CORE, pin_thread, thread_cpu_seconds};
use crate::{Error, Result};

const BYTES: u64 = 4 << 30;
const WRITE_BYTES: usize = 1 << 20;
const READ_BYTES: usize = 512 << 10;

/// The rate of the connection and the CPU of its receiver.
pub fn receive() -> Result<Rate> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(Error::io("listening"))?;
    let address = listener.local_addr().map_err(Error::io("listening"))?;
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || -> std::io::Result<()> {
            pin_thread(LOAD_CORE);
            let mut stream = TcpStream::connect(address)?;
            let block = vec![0x5a; WRITE_BYTES];
            for _ in 0..BYTES / WRITE_BYTES as u64 {
                stream.write_all(&block)?;
            }
            Ok(())
        });
        let receiver = scope.spawn(move || -> std::io::Result<Rate> {
            pin_thread(BROKER_CORE);
            let (mut stream, _) = listener.accept()?;
            let mut buffer = vec![0; READ_BYTES];
            let (begun, cpu) = (Instant::now(), thread_cpu_seconds());
            let mut bytes = 0;
            loop {
                match stream.read(&mut buffer)? {
                    0 => break,
                    count => bytes += count as u64,
                }
            }
            let seconds = begun.elapsed().as_secs_f64();
            Ok(Rate::new(bytes, seconds, thread_cpu_seconds() - cpu))
        });
        let sent = sender.join().expect("the sender does not panic");
        let rate = receiver.join().expect("the receiver does not panic");
        sent.and(rate).map_err(Error::io("the loopback connection"))
    })
}
