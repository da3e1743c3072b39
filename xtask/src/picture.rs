//! `cargo xtask picture`: runs the README's start, command by command, against the server it names, and draws what a
//! terminal would have shown into `docs/session.svg`. Nothing in the picture is made up.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::steps::have;
use crate::tree;

const PICTURE: &str = "docs/session.svg";
/// The README's commands stand between this line and the next fence.
const START: &str = "```sh start";
/// A server that prints nothing for so long has printed all it has to say at its start.
const QUIET: Duration = Duration::from_secs(2);
/// Lines of one command that are shown; the rest is counted.
const SHOWN_LINES_MAX: usize = 24;
const COLUMNS: usize = 110;
/// How often the mailbox is looked at until the message is there.
const LOOKS_MAX: u32 = 50;
const PAUSE_BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// One line on the screen.
enum Line {
    /// Typed by a person.
    Typed(String),
    /// Printed by a program.
    Printed(String),
}

/// Builds, runs and draws.
pub fn run(top: &Path) -> Result<(), String> {
    if !have(&["swaks", "--version"]) {
        return Err("swaks is missing: apt-get install swaks libnet-ssleay-perl".to_owned());
    }
    let readme = tree::read(top, "README.md")?;
    let commands = commands(&readme)?;
    let folder = stage(top)?;
    let mut lines = Vec::new();
    let mut server = Server::start(&folder, &mut lines)?;
    let outcome = commands
        .iter()
        .try_for_each(|command| perform(command, &folder, &mut lines));
    server.stop();
    outcome?;
    std::fs::write(top.join(PICTURE), draw(&lines)).map_err(|error| format!("{PICTURE}: {error}"))?;
    lines.iter().for_each(|line| match line {
        Line::Typed(text) => println!("$ {text}"),
        Line::Printed(text) => println!("{text}"),
    });
    Ok(())
}

fn commands(readme: &str) -> Result<Vec<String>, String> {
    let behind = readme
        .split_once(START)
        .ok_or(format!("README.md has no block `{START}`"))?
        .1;
    let block = behind
        .split_once("\n```")
        .ok_or("README.md: the start block has no end")?
        .0;
    Ok(block
        .replace("\\\n", " ")
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}

/// A folder like a clone's: the README and the built program at the places that the commands name.
fn stage(top: &Path) -> Result<PathBuf, String> {
    let built = Command::new("cargo")
        .args(["build", "--release", "--package", "sealpost"])
        .current_dir(top)
        .status();
    if !built.is_ok_and(|status| status.success()) {
        return Err("the release build failed".to_owned());
    }
    let folder = top.join("target/picture");
    let made = || -> std::io::Result<()> {
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(folder.join("target/release"))?;
        std::fs::copy(top.join("README.md"), folder.join("README.md"))?;
        std::fs::copy(
            top.join("target/release/sealpost"),
            folder.join("target/release/sealpost"),
        )?;
        Ok(())
    };
    made().map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}

struct Server(Child);

impl Server {
    fn start(folder: &Path, lines: &mut Vec<Line>) -> Result<Server, String> {
        let mut child = Command::new("target/release/sealpost")
            .arg("serve")
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("sealpost serve: {error}"))?;
        let (said, heard) = mpsc::channel();
        let output = child.stdout.take().ok_or("the server has no output")?;
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            // The receiver goes away when the picture is complete.
            lines.for_each(|line| drop(said.send(line)));
        });
        lines.push(Line::Typed("cargo run --release -- serve".to_owned()));
        while let Ok(line) = heard.recv_timeout(QUIET) {
            lines.push(Line::Printed(line));
        }
        Ok(Server(child))
    }

    fn stop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs one command as a shell would and adds what it printed. `ID` is the first word that `mail list` printed for a message.
fn perform(command: &str, folder: &Path, lines: &mut Vec<Line>) -> Result<(), String> {
    let command = if command.contains(" ID") {
        command.replace(" ID", &format!(" {}", newest_id(folder)?))
    } else {
        command.to_owned()
    };
    if command.contains(" mail list") {
        newest_id(folder)?;
    }
    let output = shell(&command, folder)?;
    if !output.status.success() {
        return Err(format!(
            "`{command}`: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    lines.push(Line::Typed(command));
    let all: Vec<&str> = printed.lines().collect();
    // Of a long dialogue the end says how it went.
    let hidden = all.len().saturating_sub(SHOWN_LINES_MAX);
    if hidden > 0 {
        lines.push(Line::Printed(format!("… {hidden} lines")));
    }
    lines.extend(all[hidden..].iter().map(|line| Line::Printed((*line).to_owned())));
    Ok(())
}

fn shell(command: &str, folder: &Path) -> Result<std::process::Output, String> {
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output();
    output.map_err(|error| format!("{command}: {error}"))
}

/// The message's name, as soon as it is delivered.
fn newest_id(folder: &Path) -> Result<String, String> {
    for _ in 0..LOOKS_MAX {
        let output = shell("target/release/sealpost mail list --json", folder)?;
        let json = String::from_utf8_lossy(&output.stdout);
        if let Some(id) = json
            .split_once("\"id\"")
            .and_then(|(_, behind)| behind.split('"').nth(1))
        {
            return Ok(id.to_owned());
        }
        std::thread::sleep(PAUSE_BETWEEN_LOOKS);
    }
    Err("no message was delivered".to_owned())
}

/// The session as an SVG picture of text.
fn draw(lines: &[Line]) -> String {
    const ROW: usize = 18;
    const LEFT: usize = 16;
    let height = lines.len() * ROW + 2 * LEFT + 20;
    let width = COLUMNS * 8 + 2 * LEFT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"13\" xml:space=\"preserve\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#16181d\"/>\n\
         <circle cx=\"20\" cy=\"16\" r=\"5\" fill=\"#e06c60\"/><circle cx=\"38\" cy=\"16\" r=\"5\" fill=\"#e5b04e\"/>\
         <circle cx=\"56\" cy=\"16\" r=\"5\" fill=\"#62b560\"/>\n"
    );
    for (index, line) in lines.iter().enumerate() {
        let y = LEFT + 20 + (index + 1) * ROW - 4;
        let (colour, text) = match line {
            Line::Typed(text) => ("#8fd694", format!("$ {text}")),
            Line::Printed(text) => ("#d6d8dd", text.clone()),
        };
        let text = screen(&text);
        svg.push_str(&format!(
            "<text x=\"{LEFT}\" y=\"{y}\" fill=\"{colour}\">{text}</text>\n"
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

/// A line cut to the screen's width and escaped.
fn screen(line: &str) -> String {
    let plain: String = line
        .replace('\t', "    ")
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    let cut: String = plain.chars().take(COLUMNS).collect();
    let cut = if cut.len() < plain.len() {
        format!("{}…", cut.trim_end())
    } else {
        cut
    };
    cut.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{Line, commands, draw};

    #[test]
    fn the_commands_of_the_readme_are_found() {
        let readme = "a\n```sh\nno\n```\n```sh start\none \\\n  more\ntwo\n```\nb\n";
        assert_eq!(commands(readme).expect("a start block"), ["one    more", "two"]);
        assert!(commands("```sh\n```\n").is_err());
    }

    #[test]
    fn what_was_printed_cannot_leave_its_line() {
        let svg = draw(&[
            Line::Printed("<b>&\u{1b}[31m".to_owned()),
            Line::Typed("x".repeat(300)),
        ]);
        assert!(svg.contains("&lt;b&gt;&amp;[31m</text>"), "{svg}");
        assert!(svg.contains(&format!("$ {}…</text>", "x".repeat(108))), "{svg}");
    }
}
