//! Trees of captured machines for the tests: made by `tests/hosts/build.py`, gone when dropped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use sipmi::affinity::Host;
use sipmi::affinity::faults::{Fault, Faults};

pub struct Machine {
    pub dir: PathBuf,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Machine {
    pub fn captured(name: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let dir = std::env::temp_dir().join(format!("sipmi-tree-{}-{number}", std::process::id()));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts/build.py");
        let built =
            Command::new("python3").arg(script).arg(name).arg(&dir).status().expect("python3 builds the tree");
        assert!(built.success());
        Machine { dir }
    }

    pub fn host(&self) -> Host {
        Host::at(&self.dir, None).expect("a host")
    }

    #[allow(dead_code)]
    pub fn with_fault(&self, path: &str, fault: Fault) -> Host {
        Host::at(&self.dir, Some(Faults::new([(path.to_owned(), fault)]))).expect("a host")
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.dir.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("its folder");
        std::fs::write(path, text).expect("written");
    }

    /// A link from one path of the machine to another, which is made where it does not exist.
    #[allow(dead_code)]
    pub fn link(&self, path: &str, target: &str) {
        let target = self.dir.join(target.trim_start_matches('/'));
        if !target.exists() {
            std::fs::create_dir_all(&target).expect("the target");
        }
        self.symlink(path, target.to_str().expect("UTF-8"));
    }

    #[allow(dead_code)]
    pub fn symlink(&self, path: &str, target: &str) {
        let path = self.dir.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("its folder");
        std::os::unix::fs::symlink(target, path).expect("a link");
    }

    #[allow(dead_code)]
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.dir.join(path.trim_start_matches('/'))).expect("read")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
