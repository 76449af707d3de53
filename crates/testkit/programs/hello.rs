//! The payload of tests and the demo: one small static program that can be a web server, a crash, a hog or a sleeper.
//!
//! It is compiled by `rustc` alone, without dependencies, and linked statically, so that an image of it needs nothing
//! else; for WASI, too, which knows neither signals nor threads. Usage: `hello serve [PORT]`, `hello sleep`,
//! `hello exit CODE [AFTER_MS]`, `hello abort`, `hello hog MIB`, `hello spin`, `hello print LINES`, `hello stubborn` (ignores
//! SIGTERM), `hello cat` (copies its input), `hello env`, `hello read FILE`, `hello write FILE TEXT`,
//! `hello get HOST:PORT PATH`, `hello echo [PORT]` (sends back what comes on a TCP connection), `hello send HOST:PORT`
//! (sends its input, ends its direction, and prints what comes back).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

#[cfg(unix)]
mod signals {
    unsafe extern "C" {
        fn signal(number: i32, handler: usize) -> usize;
        fn _exit(code: i32) -> !;
    }

    extern "C" fn leave(_: i32) {
        // SAFETY: _exit is safe to call in a signal handler.
        unsafe { _exit(0) }
    }

    /// Leaves at SIGTERM, or does not hear it. Process 1 of a container has no default action for it.
    pub fn set(stubborn: bool) {
        // SAFETY: the handler only calls _exit; 1 is SIG_IGN.
        unsafe { signal(15, if stubborn { 1 } else { leave as *const () as usize }) };
    }
}

/// At once where there are threads, else when nothing else is to be done.
fn beside(work: impl FnOnce() + Send + 'static) {
    if cfg!(target_family = "wasm") {
        work();
    } else {
        std::thread::spawn(work);
    }
}

static HEALTHY: AtomicBool = AtomicBool::new(true);
static REQUESTS: AtomicU64 = AtomicU64::new(0);

fn main() {
    let mut args: Vec<String> = std::env::args().collect();
    // Under another name it is the command of that name.
    if !args.first().is_some_and(|name| name.rsplit('/').next().is_some_and(|last| last.starts_with("hello"))) {
        args.insert(0, "hello".to_owned());
    }
    let word = |n: usize| args.get(n).map(String::as_str);
    let number = |n: usize, default: u64| word(n).and_then(|w| w.parse().ok()).unwrap_or(default);
    #[cfg(unix)]
    signals::set(word(1) == Some("stubborn"));
    match word(1).unwrap_or("serve") {
        "serve" => serve(number(2, 8080) as u16),
        "sleep" | "stubborn" => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        "abort" => std::process::abort(),
        "write" => match std::fs::write(word(2).unwrap_or_default(), word(3).unwrap_or_default()) {
            Ok(()) => println!("written"),
            Err(error) => {
                eprintln!("{error}");
                std::process::exit(1);
            }
        },
        "exit" => {
            std::thread::sleep(Duration::from_millis(number(3, 0)));
            eprintln!("exiting with {}", number(2, 0));
            std::process::exit(number(2, 0) as i32);
        }
        "hog" => {
            let mut held: Vec<Vec<u8>> = Vec::new();
            for _ in 0..number(2, 1024) {
                held.push(vec![1; 1 << 20]);
            }
            println!("held {} MiB", held.len());
            std::thread::sleep(Duration::from_secs(3600));
        }
        "print" => {
            for line in 0..number(2, 10) {
                println!("line {line}");
            }
        }
        "spin" => loop {
            std::hint::spin_loop();
        },
        "cat" => {
            let mut input = Vec::new();
            let _ = std::io::stdin().read_to_end(&mut input);
            let _ = std::io::stdout().write_all(&input);
        }
        "env" => std::env::vars().for_each(|(name, value)| println!("{name}={value}")),
        "get" => match get(word(2).unwrap_or_default(), word(3).unwrap_or("/")) {
            Ok(body) => print!("{body}"),
            Err(error) => {
                eprintln!("{error}");
                std::process::exit(1);
            }
        },
        "echo" => echo(number(2, 9000) as u16),
        "send" => {
            if let Err(error) = send(word(2).unwrap_or_default()) {
                eprintln!("{error}");
                std::process::exit(1);
            }
        }
        "read" => match std::fs::read_to_string(word(2).unwrap_or_default()) {
            Ok(text) => print!("{text}"),
            Err(error) => {
                eprintln!("{error}");
                std::process::exit(1);
            }
        },
        other => {
            eprintln!("hello: no such command: {other}");
            std::process::exit(2);
        }
    }
}

/// The body of `http://address/path`, if it is answered with 200.
fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(std::io::Error::other(format!("answered {answer:?}"))),
    }
}

/// Sends standard input and its end, while it prints what comes back.
fn send(address: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut sending = stream.try_clone()?;
    let sender = std::thread::spawn(move || {
        std::io::copy(&mut std::io::stdin(), &mut sending)?;
        sending.shutdown(std::net::Shutdown::Write)
    });
    std::io::copy(&mut stream, &mut std::io::stdout())?;
    sender.join().map_err(|_| std::io::Error::other("the sending thread panicked"))?
}

fn listen(port: u16) -> TcpListener {
    match TcpListener::bind(("0.0.0.0", port)) {
        Ok(listener) => {
            println!("listening on port {port}");
            listener
        }
        Err(error) => {
            eprintln!("cannot listen on port {port}: {error}");
            std::process::exit(1);
        }
    }
}

fn echo(port: u16) {
    for mut stream in listen(port).incoming().flatten() {
        beside(move || {
            let copied = stream.try_clone().and_then(|mut reading| std::io::copy(&mut reading, &mut stream));
            println!("echoed {copied:?}");
        });
    }
}

fn serve(port: u16) {
    let listener = listen(port);
    for stream in listener.incoming().flatten() {
        beside(move || answer(stream));
    }
}

fn answer(stream: TcpStream) {
    let mut lines = BufReader::new((&stream).take(64 * 1024)).lines();
    let Some(Ok(request)) = lines.next() else { return };
    for line in lines.by_ref() {
        match line {
            Ok(line) if !line.is_empty() => {}
            _ => break,
        }
    }
    let path = request.split(' ').nth(1).unwrap_or("/");
    let count = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
    let (status, body) = match path {
        "/healthz" if HEALTHY.load(Ordering::Relaxed) => ("200 OK", "ok\n".to_owned()),
        "/healthz" => ("500 Internal Server Error", "ill\n".to_owned()),
        "/fall-ill" => {
            HEALTHY.store(false, Ordering::Relaxed);
            ("200 OK", "ill from now on\n".to_owned())
        }
        "/recover" => {
            HEALTHY.store(true, Ordering::Relaxed);
            ("200 OK", "well again\n".to_owned())
        }
        _ => {
            let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
            ("200 OK", format!("hello from {} ({count})\n", host.trim()))
        }
    };
    if path != "/healthz" {
        println!("{request} -> {status}");
    }
    let _ = write!(&stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
}
