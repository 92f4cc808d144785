//! The agent as it goes to devices: which target it is built for, and how.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::repo::{Repo, cargo};
use crate::shell::{output, run as run_command, which};

/// What the agent can be built for: an operating system's C library on a kind of processor.
#[derive(Debug)]
pub(crate) struct Target {
    /// Rust's name of it.
    pub(crate) triple: &'static str,
    /// The C compiler for it, which the cryptography is compiled with.
    compiler: &'static str,
}

/// Debian's architectures, and the targets for each, the best first: with musl the program needs
/// nothing of the system that it is installed on, and less memory. Not with glibc linked statically:
/// its resolver loads libraries of the system, which have to be of the same version.
pub(crate) const ARCHITECTURES: &[(&str, &[Target])] = &[
    (
        "amd64",
        &[
            Target { triple: "x86_64-unknown-linux-musl", compiler: "musl-gcc" },
            Target { triple: "x86_64-unknown-linux-gnu", compiler: "x86_64-linux-gnu-gcc" },
        ],
    ),
    (
        "arm64",
        &[
            Target { triple: "aarch64-unknown-linux-musl", compiler: "aarch64-linux-musl-gcc" },
            Target { triple: "aarch64-unknown-linux-gnu", compiler: "aarch64-linux-gnu-gcc" },
        ],
    ),
    (
        "armhf",
        &[
            Target {
                triple: "armv7-unknown-linux-musleabihf",
                compiler: "arm-linux-musleabihf-gcc",
            },
            Target { triple: "armv7-unknown-linux-gnueabihf", compiler: "arm-linux-gnueabihf-gcc" },
        ],
    ),
];

/// Says which targets can be built for on this machine.
pub(crate) struct Toolchain {
    /// The folder of the installed targets.
    installed: PathBuf,
}

impl Toolchain {
    /// The toolchain that cargo builds with.
    pub(crate) fn find() -> Result<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let sysroot = output(Command::new(rustc).args(["--print", "sysroot"]))?;
        Ok(Self { installed: Path::new(sysroot.trim()).join("lib/rustlib") })
    }

    /// What is missing to build for a target, as what to do about it.
    pub(crate) fn lacks(&self, target: &Target) -> Option<String> {
        if !self.installed.join(target.triple).join("lib").is_dir() {
            return Some(format!("rustup target add {}", target.triple));
        }
        let is_named = std::env::var_os(target.compiler_variable()).is_some();
        (!is_named && which(target.compiler).is_none() && !target.is_ours()).then(|| {
            format!(
                "install {}, or name another in {}",
                target.compiler,
                target.compiler_variable()
            )
        })
    }

    /// The best target for this machine that can be built for.
    pub(crate) fn best_of_ours(&self) -> Option<&'static Target> {
        let mut targets = ARCHITECTURES.iter().flat_map(|(_, targets)| *targets);
        targets.find(|target| !target.is_foreign() && self.lacks(target).is_none())
    }
}

impl Target {
    /// Builds the agent for devices and says where it is.
    pub(crate) fn build(&self, repo: &Repo) -> Result<PathBuf> {
        let build =
            ["build", "--profile", "agent", "--package", "picket-agent", "--target", self.triple];
        let mut command = cargo();
        command.current_dir(&repo.root).args(build);
        let linker =
            format!("CARGO_TARGET_{}_LINKER", self.triple.replace('-', "_").to_ascii_uppercase());
        // The linker of this machine links for its own processor alone.
        if self.is_foreign() && std::env::var_os(&linker).is_none() {
            let compiler = std::env::var_os(self.compiler_variable());
            command.env(linker, compiler.unwrap_or_else(|| self.compiler.into()));
        }
        run_command(&mut command)?;
        Ok(repo.target.join(self.triple).join("agent/picket-agent"))
    }

    /// The variable that names another C compiler for it.
    fn compiler_variable(&self) -> String {
        format!("CC_{}", self.triple.replace('-', "_"))
    }

    /// Whether it is what this program itself was built for, whose compiler is there then.
    fn is_ours(&self) -> bool {
        let library = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
        self.triple == format!("{}-unknown-linux-{library}", std::env::consts::ARCH)
    }

    /// Whether its processor is another than this machine's.
    fn is_foreign(&self) -> bool {
        self.triple.split('-').next() != Some(std::env::consts::ARCH)
    }
}
