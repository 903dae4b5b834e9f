//! Files that processes have mapped: deleted, in another mount namespace, of another name, through an overlay.

use std::os::unix::fs::MetadataExt;

use super::*;

fn identity(path: &Path) -> (u64, u64) {
    let meta = fs::metadata(path).unwrap();
    (meta.dev(), meta.ino())
}

/// The only file that a process calls so.
pub fn file(pid: u32, name: &str) -> Option<mapped::Mapped> {
    let mut files = mapped::files(Path::new(PROC), pid, name);
    assert!(files.len() <= 1, "{name}: {files:?}");
    files.pop()
}

#[test]
fn the_program_of_a_process_is_found_when_it_has_been_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("a probed program");
    let test = "the_program_of_a_process_is_found_when_it_has_been_deleted";
    let Some(()) = program(test, &path, &[]) else { return };
    let running = Running::start(Command::new(&path)).unwrap();
    let own = identity(&path);
    let names = ["exe", "a probed program", path.to_str().unwrap()];
    let assert_found = |names: &[&str]| {
        for name in names {
            let found = file(running.pid(), name).unwrap();
            assert_eq!((found.device, found.inode), own, "{name}");
            assert_probes(&found.path, &running);
        }
    };
    assert_found(&names);
    assert_eq!(file(running.pid(), "probed program"), None);
    fs::remove_file(&path).unwrap();
    assert_found(&names);
    // Another stands in its place, as after an upgrade.
    fs::write(&path, b"new").unwrap();
    assert_found(&names);
    assert_eq!(file(running.pid(), "/no/such/file"), None);
    assert_eq!(file(u32::MAX, "exe"), None);
}

#[test]
fn a_library_is_found_by_the_name_that_its_users_have_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().canonicalize().unwrap();
    let test = "a_library_is_found_by_the_name_that_its_users_have_for_it";
    let (library, link, program) = (at.join("libanswer.so.1.2"), at.join("libanswer.so.1"), at.join("probed"));
    let script = format!("-Wl,--version-script={}", source("library.map").display());
    let flags = ["-shared", "-fPIC", "-Wl,-soname,libanswer.so.1", &script];
    let Some(()) = compile(test, &library, &flags, &["library.c"]) else { return };
    std::os::unix::fs::symlink("libanswer.so.1.2", &link).unwrap();
    let search = format!("-Wl,-rpath,{}", at.display());
    let (folder, beside) = (format!("-L{}", at.display()), "-l:libanswer.so.1");
    let flags = ["-Wl,--no-as-needed", &search, &folder, beside];
    let Some(()) = compile(test, &program, &flags, &["probed.c", "other.c"]) else { return };
    let running = Running::start(Command::new(&program)).unwrap();
    let own = identity(&library);
    let names = ["libanswer.so.1.2", "libanswer.so.1", library.to_str().unwrap(), link.to_str().unwrap()];
    for name in names {
        let found = file(running.pid(), name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!((found.device, found.inode), own, "{name}");
        assert!(function(&found.path, "answer").is_ok());
    }
    assert_eq!(file(running.pid(), "libanswer.so.2"), None);
    // Without the link, by what the library says of itself.
    fs::remove_file(&link).unwrap();
    fs::rename(&library, at.join("libanswer.so.1.2.old")).unwrap();
    let found = file(running.pid(), "libanswer.so.1").unwrap();
    assert_eq!((found.device, found.inode), own);
    assert_eq!(file(running.pid(), "libansw"), None);
}

#[test]
fn a_program_in_another_mount_namespace_is_reached() {
    let folder = tempfile::tempdir().unwrap();
    let test = "a_program_in_another_mount_namespace_is_reached";
    let (path, root) = (folder.path().join("probed"), folder.path().join("root"));
    let Some(()) = program(test, &path, &["-static-pie"]) else { return };
    fs::create_dir(&root).unwrap();
    let mut command = Command::new("unshare");
    let inside = "mount -t tmpfs tmpfs \"$1\" && mkdir \"$1/bin\" && cp \"$0\" \"$1/bin/probed\" && \
        ln -s /bin/probed \"$1/link\" && cp \"$0\" \"$1/bin/idle\" && exec chroot \"$1\" /bin/probed";
    command.args(["--mount", "--propagation", "private", "sh", "-c", inside]).arg(&path).arg(&root);
    let Some(running) = Running::start(command) else {
        return skip(test, "no new mount namespace may be made here");
    };
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "what is inside is not seen from outside");
    for name in ["exe", "probed", "/bin/probed", "/link"] {
        let found = file(running.pid(), name).unwrap_or_else(|| panic!("{name}"));
        assert_ne!((found.device, found.inode), identity(&path), "{name}");
        assert_probes(&found.path, &running);
    }
    // Not loaded yet.
    let idle = file(running.pid(), "/bin/idle").unwrap();
    assert_eq!(offsets(usdt(&idle.path, "idle")), [running.offset("idle_site")]);
    assert_eq!(file(running.pid(), "idle"), None);
    assert_eq!(file(running.pid(), path.to_str().unwrap()), None, "its root has no such file");
}

/// A process as /proc shows it to who may not follow its mappings: text of its maps, its root, and its program.
fn seen(folder: &Path, maps: &str, root: &Path, exe: &Path) -> PathBuf {
    let proc = folder.join("proc");
    let process = proc.join("7");
    fs::create_dir_all(&process).unwrap();
    fs::write(process.join("maps"), maps).unwrap();
    std::os::unix::fs::symlink(root, process.join("root")).unwrap();
    std::os::unix::fs::symlink(exe, process.join("exe")).unwrap();
    proc
}

#[test]
fn without_leave_to_follow_mappings_files_are_found_by_their_paths_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().canonicalize().unwrap();
    let root = at.join("root");
    fs::create_dir_all(root.join("lib")).unwrap();
    for name in ["lib/libone.so.1.5", "lib/libtwo.so", "lib/libthree.so", "program"] {
        fs::write(root.join(name), name).unwrap();
    }
    // Outside of the root, and a link that leads there.
    fs::write(at.join("libfour.so"), "four").unwrap();
    for (to, link) in [("libone.so.1.5", "lib/libone.so.1"), ("../../libfour.so", "lib/libfour.so")] {
        std::os::unix::fs::symlink(to, root.join(link)).unwrap();
    }
    std::os::unix::fs::symlink("/lib/libtwo.so", root.join("two")).unwrap();
    let inode = |name: &str| fs::metadata(root.join(name)).unwrap().ino();
    let maps = format!(
        "7f0000000000-7f0000001000 r-xp 00000000 08:01 {one} {root}/lib/libone.so.1.5\n\
         7f0000001000-7f0000002000 r-xp 00001000 08:01 {one} {root}/lib/libone.so.1.5\n\
         7f0000002000-7f0000003000 r-xp 00000000 08:01 {two} {root}/lib/libtwo.so\n\
         7f0000003000-7f0000004000 r--p 00000000 08:01 {three} {root}/lib/libthree.so\n\
         7f0000004000-7f0000005000 r-xp 00000000 08:01 1 {root}/lib/libthree.so\n\
         7f0000005000-7f0000006000 r-xp 00000000 08:01 {program} {root}/gone (deleted)\n\
         7f0000006000-7f0000007000 r-xp 00000000 00:00 0 [vdso]\n\
         nonsense\n",
        one = inode("lib/libone.so.1.5"),
        two = inode("lib/libtwo.so"),
        three = inode("lib/libthree.so"),
        program = inode("program"),
        root = root.display(),
    );
    let proc = seen(&at, &maps, &root, &root.join("program"));
    let found = |name: &str| {
        let files = mapped::files(&proc, 7, name);
        files
            .iter()
            .map(|file| file.path.canonicalize().unwrap().strip_prefix(&at).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    for name in ["libone.so.1.5", "libone.so.1", "/lib/libone.so.1.5", "/lib/libone.so.1"] {
        assert_eq!(found(name), [Path::new("root/lib/libone.so.1.5")], "{name}");
    }
    assert_eq!(found("/two"), [Path::new("root/lib/libtwo.so")]);
    assert_eq!(found("gone"), [Path::new("root/program")], "by the program's own link");
    assert_eq!(found("exe"), [Path::new("root/program")]);
    // Another file than that which is mapped.
    assert!(found("libthree.so").is_empty());
    for name in ["", "libfour.so", "/lib/libfour.so", "/lib", "/", "lib", "..", "/../libfour.so", "a\0b", "[vdso]"] {
        assert!(found(name).is_empty(), "{name:?}");
    }
    // Not mapped as code, but there.
    assert_eq!(found("/lib/libthree.so"), [Path::new("root/lib/libthree.so")]);
    assert!(mapped::files(&proc, 8, "exe").is_empty() && mapped::files(&proc, 8, "/program").is_empty());
}

/// Mounted until dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(at: PathBuf, args: &[&str]) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let done = Command::new("mount").args(args).arg(&at).stderr(Stdio::null()).status();
        done.is_ok_and(|status| status.success()).then_some(Self(at))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn two_containers_of_one_image_have_the_same_file_for_the_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().canonicalize().unwrap();
    // An overlay's upper folder cannot be on an overlay, as a container's /tmp is.
    let Some(base) = Mount::new(at.join("base"), &["-t", "tmpfs", "none"]) else {
        return skip("two_containers_of_one_image_have_the_same_file_for_the_kernel", "nothing may be mounted");
    };
    let base = base.0.as_path();
    ["image", "up1", "up2", "work1", "work2"].iter().for_each(|name| fs::create_dir(base.join(name)).unwrap());
    fs::write(base.join("image/lib.so"), "one").unwrap();
    fs::write(base.join("image/other.so"), "two").unwrap();
    let overlay = |n: u32| {
        let [low, up, work] = ["image", &format!("up{n}"), &format!("work{n}")].map(|name| base.join(name));
        let options = format!("lowerdir={},upperdir={},workdir={}", low.display(), up.display(), work.display());
        Mount::new(base.join(format!("merged{n}")), &["-t", "overlay", "none", "-o", &options])
    };
    let (Some(one), Some(two)) = (overlay(1), overlay(2)) else {
        return skip("two_containers_of_one_image_have_the_same_file_for_the_kernel", "the kernel has no overlayfs");
    };
    let below = |path: PathBuf| mapped::Below::of(&path, &fs::metadata(&path).unwrap());
    assert_ne!(identity(&one.0.join("lib.so")), identity(&two.0.join("lib.so")));
    assert_eq!(below(one.0.join("lib.so")), below(two.0.join("lib.so")));
    assert_ne!(below(one.0.join("lib.so")), below(one.0.join("other.so")));
    // What a container changes is its own.
    fs::write(two.0.join("lib.so"), "one").unwrap();
    assert_ne!(below(one.0.join("lib.so")), below(two.0.join("lib.so")));
    assert_ne!(below(base.join("image/lib.so")), below(base.join("image/other.so")));
}
