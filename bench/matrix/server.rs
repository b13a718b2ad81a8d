// A server in Rust that has never heard of overseer, of its standard library alone: a thread for each connection,
// one request on each. It takes descriptor 3; after SIGTERM it answers what it has accepted, and ends.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::io::FromRawFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

#[repr(C)]
struct PollFd {
    fd: i32,
    events: i16,
    revents: i16,
}

extern "C" {
    fn pipe(ends: *mut i32) -> i32;
    fn poll(fds: *mut PollFd, count: u64, timeout: i32) -> i32;
    fn signal(number: i32, handler: usize) -> usize;
    fn write(fd: i32, data: *const u8, count: usize) -> isize;
}

const SIGTERM: i32 = 15;
const POLLIN: i16 = 1;
static LEAVING: AtomicI32 = AtomicI32::new(-1);

extern "C" fn leave(_number: i32) {
    unsafe { write(LEAVING.load(Ordering::Relaxed), b"!".as_ptr(), 1) };
}

// Read a whole request, head and body, answer it, and wait until the client has gone.
fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut body) = (String::new(), 0);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            break;
        }
        if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            body = length.trim().parse().unwrap_or(0);
        }
    }
    std::io::copy(&mut reader.by_ref().take(body), &mut std::io::sink())?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")?;
    stream.shutdown(Shutdown::Write)?;
    std::io::copy(&mut reader, &mut std::io::sink())?; // else what is unread would reset the connection
    Ok(())
}

fn main() {
    let mut ends = [0; 2];
    assert_eq!(unsafe { pipe(ends.as_mut_ptr()) }, 0);
    LEAVING.store(ends[1], Ordering::Relaxed);
    unsafe { signal(SIGTERM, leave as extern "C" fn(i32) as usize) };
    let listener = unsafe { TcpListener::from_raw_fd(3) };
    let wait = |fd| PollFd { fd, events: POLLIN, revents: 0 };
    let mut threads: Vec<thread::JoinHandle<()>> = Vec::new();
    loop {
        let mut fds = [wait(3), wait(ends[0])];
        if unsafe { poll(fds.as_mut_ptr(), 2, -1) } > 0 && fds[1].revents != 0 {
            break;
        }
        // Its other generation may have been quicker: the flag of the listener says no waiting.
        if let Ok((stream, _)) = listener.accept() {
            threads.retain(|thread| !thread.is_finished());
            threads.push(thread::spawn(|| serve(stream).unwrap_or_else(|error| eprintln!("{error}"))));
        }
    }
    for thread in threads {
        thread.join().expect("no thread panics");
    }
}
