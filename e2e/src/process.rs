//! The only module that starts processes.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use crate::error::{Error, Result};

/// A program and its arguments, not yet started.
#[derive(Debug, Clone)]
pub struct Program {
    path: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    directory: Option<std::path::PathBuf>,
    input: Option<Vec<u8>>,
}

impl Program {
    /// `program` is a path, or a name that is looked up in `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            path: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            input: None,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds the flag `--name=value`, the form that Go programs agree on.
    #[must_use]
    pub fn flag(self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let mut flag = OsString::from(format!("--{name}="));
        flag.push(value);
        self.arg(flag)
    }

    /// Sets an environment variable on top of the inherited ones.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs in `directory` instead of the current one.
    #[must_use]
    pub fn directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Feeds `input` to standard input, which is empty otherwise.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Puts this program behind another one: `nsenter … -- self`.
    #[must_use]
    pub fn behind(mut self, wrapper: Self) -> Self {
        let mut args = wrapper.args;
        args.push(self.path);
        args.append(&mut self.args);
        self.env.extend(wrapper.env);
        Self {
            path: wrapper.path,
            args,
            ..self
        }
    }

    /// Runs to the end and keeps what it wrote. Fails only where it cannot be started.
    pub fn output(&self) -> Result<Output> {
        let input = if self.input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        let mut child = self
            .command()
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| self.start_error(source))?;
        // Written from a thread of its own: a program that answers before it has read everything would block both.
        let stdin = child.stdin.take();
        std::thread::scope(|scope| {
            if let (Some(mut stdin), Some(input)) = (stdin, &self.input) {
                // A program may stop reading early; its exit status says whether that was a failure.
                scope.spawn(move || stdin.write_all(input).ok());
            }
            child
                .wait_with_output()
                .map_err(|source| self.start_error(source))
        })
    }

    /// Runs to the end and returns standard output; an exit status other than 0 is an error.
    pub fn run(&self) -> Result<String> {
        let output = self.output()?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(stdout);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let output_text = if stderr.trim().is_empty() {
            stdout
        } else {
            stderr.into_owned()
        };
        Err(Error::Program {
            command: self.to_string(),
            status: output.status,
            output: output_text.trim_end().to_owned(),
        })
    }

    /// Runs to the end with the terminal's own input and output.
    pub fn interactive(&self) -> Result<ExitStatus> {
        self.command().status().map_err(|source| self.start_error(source))
    }

    /// Starts it, with everything it writes appended to `log`.
    pub fn spawn_logged(&self, log: &Path) -> Result<Child> {
        let (out, err) = log_handles(log)?;
        self.command()
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|source| self.start_error(source))
    }

    /// Starts it with pipes to its standard input and output; standard error is appended to `log`.
    pub fn spawn_piped(&self, log: &Path) -> Result<Child> {
        let (_, err) = log_handles(log)?;
        self.command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(err)
            .spawn()
            .map_err(|source| self.start_error(source))
    }

    /// Starts it with this process's own input and output.
    pub fn spawn_inherited(&self) -> Result<Child> {
        self.command().spawn().map_err(|source| self.start_error(source))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    fn start_error(&self, source: std::io::Error) -> Error {
        Error::Start {
            command: self.to_string(),
            source,
        }
    }
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())?;
        self.args
            .iter()
            .try_for_each(|arg| write!(f, " {}", arg.display()))
    }
}

fn log_handles(log: &Path) -> Result<(File, File)> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .map_err(Error::file("open", log))?;
    let copy = file.try_clone().map_err(Error::file("open", log))?;
    Ok((file, copy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_the_command_and_what_it_said() {
        let error = Program::new("sh")
            .args(["-c", "echo no such thing >&2; exit 3"])
            .run()
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("sh -c") && text.contains("no such thing") && text.contains('3'),
            "{text}"
        );
    }

    #[test]
    fn more_input_than_a_pipe_holds_comes_back_whole() {
        let input = vec![b'x'; 1 << 20];
        let output = Program::new("cat").input(input.clone()).output().unwrap();
        assert_eq!(output.stdout, input);
    }

    #[test]
    fn a_wrapper_goes_in_front() {
        let wrapped = Program::new("ls")
            .arg("-l")
            .behind(Program::new("env").arg("A=b"));
        assert_eq!(wrapped.to_string(), "env A=b ls -l");
    }
}
