//! Each branch of the judgement on made-up facts, and the gatherer on the host that runs the tests.

use super::facts::seccomp_mode;
use super::*;

fn good() -> Facts {
    Facts {
        shards: 4,
        durability: Durability::Flush,
        kernel: "6.8.0-41-generic".to_owned(),
        ring: Ok(()),
        io_uring_disabled: Some(0),
        seccomp: Some(0),
        locks_freely: false,
        memlock: Some(8 << 20),
        descriptors: Some(20_000),
        directory: DirectoryFacts {
            path: PathBuf::from("/data"),
            created: Ok(()),
            writable: Ok(()),
            direct: Ok(()),
            filesystem: Some(0xef53),
        },
    }
}

/// The report on good facts after a change, which must refuse.
fn report(change: impl FnOnce(&mut Facts)) -> String {
    let mut facts = good();
    change(&mut facts);
    diagnose(&facts)
        .expect_err("these facts do not let a node start")
        .to_string()
}

fn directory_report(change: impl FnOnce(&mut DirectoryFacts)) -> String {
    report(|facts| change(&mut facts.directory))
}

#[test]
fn a_good_host_passes() {
    assert_eq!(diagnose(&good()), Ok(()));
    let unlimited = Facts {
        memlock: None,
        descriptors: None,
        io_uring_disabled: None,
        seccomp: None,
        ..good()
    };
    assert_eq!(diagnose(&unlimited), Ok(()));
}

#[test]
fn a_seccomp_filter_is_told_from_a_sysctl_and_from_a_security_module() {
    let text = report(|facts| {
        facts.ring = Err(libc::EPERM);
        facts.seccomp = Some(2);
    });
    let expected = "cannot start: io_uring is not usable here
  io_uring_setup: EPERM (Operation not permitted)
  kernel 6.8.0-41-generic (need >= 5.13)   kernel.io_uring_disabled = 0   seccomp: mode 2 (filter active)
  likely cause: the container's seccomp profile (Docker >= 25 and current containerd block io_uring)
  fix: docker run --security-opt seccomp=PROFILE.json ..., where PROFILE.json is Docker's default profile
       plus io_uring_setup, io_uring_enter and io_uring_register
       kubernetes: securityContext.seccompProfile: {type: Localhost, localhostProfile: PROFILE.json}";
    assert_eq!(text, expected);
    for (value, part) in [
        (1, "kernel.io_uring_group"),
        (2, "off to everybody: kernel.io_uring_disabled = 2"),
    ] {
        let text = report(|facts| {
            facts.ring = Err(libc::EPERM);
            facts.io_uring_disabled = Some(value);
            facts.seccomp = Some(2);
        });
        assert!(
            text.contains(part) && text.contains("sysctl -w kernel.io_uring_disabled=0"),
            "{text}"
        );
    }
    let text = report(|facts| facts.ring = Err(libc::EACCES));
    assert!(text.contains("SELinux"), "{text}");
}

#[test]
fn a_missing_system_call_and_an_old_kernel_are_named() {
    let text = report(|facts| facts.ring = Err(libc::ENOSYS));
    assert!(
        text.contains("ENOSYS (Function not implemented)") && text.contains("gVisor"),
        "{text}"
    );
    let text = report(|facts| {
        facts.ring = Err(libc::ENOSYS);
        facts.kernel = "5.4.0".to_owned();
    });
    assert!(
        text.contains("the kernel is too old") && text.contains("kernel 5.4.0 (need >= 5.13)"),
        "{text}"
    );
    assert!(!text.contains("gVisor"), "{text}");
    for kernel in ["4.19.0-27-amd64", "5.12.19"] {
        let text = report(|facts| facts.kernel = kernel.to_owned());
        assert!(text.contains("too old"), "{text}");
    }
    assert_eq!(
        diagnose(&Facts {
            kernel: "5.15.0".to_owned(),
            ..good()
        }),
        Ok(())
    );
    assert_eq!(
        diagnose(&Facts {
            kernel: "5.13.19".to_owned(),
            ..good()
        }),
        Ok(())
    );
}

#[test]
fn locked_memory_is_needed_per_shard_only_where_the_kernel_counts_rings() {
    let few = |kernel: &str, memlock| Facts {
        kernel: kernel.to_owned(),
        memlock: Some(memlock),
        ..good()
    };
    assert_eq!(diagnose(&few("6.13.12", 0)), Ok(()));
    assert_eq!(diagnose(&few("6.14.6", 336 << 10)), Ok(()));
    let free = Facts {
        locks_freely: true,
        ..few("6.14.6", 0)
    };
    assert_eq!(diagnose(&free), Ok(()));
    let text = report(|facts| *facts = few("6.14.6", (336 << 10) - 1));
    assert!(
        text.contains("memlock 344063 (need 336 KiB for 4 shards)"),
        "{text}"
    );
    assert!(
        text.contains("--ulimit memlock=-1") && text.contains("LimitMEMLOCK=infinity"),
        "{text}"
    );
}

#[test]
fn a_ring_refused_for_want_of_memory_names_the_limits_that_can_be_meant() {
    let refused = |kernel: &str, memlock: Limit| {
        let text = report(|facts| {
            facts.kernel = kernel.to_owned();
            facts.ring = Err(libc::ENOMEM);
            facts.memlock = memlock;
        });
        assert!(text.contains("ENOMEM (Cannot allocate memory)"), "{text}");
        assert_eq!(text.matches("cannot start").count(), 1, "{text}");
        (text.contains("MemoryMax"), text.contains("LimitMEMLOCK"))
    };
    assert_eq!(refused("6.8.0", Some(0)), (true, false));
    assert_eq!(refused("6.14.6", Some(64 << 10)), (false, true));
    assert_eq!(refused("6.14.6", Some(8 << 20)), (true, true));
    assert_eq!(refused("6.14.6", None), (true, false));
}

#[test]
fn too_few_descriptors_are_named_with_the_number_needed() {
    let text = report(|facts| facts.descriptors = Some(767));
    assert!(
        text.contains("nofile 767 (need 768 for 4 shards)") && text.contains("LimitNOFILE="),
        "{text}"
    );
    assert_eq!(
        diagnose(&Facts {
            descriptors: Some(768),
            ..good()
        }),
        Ok(())
    );
    let text = report(|facts| {
        facts.ring = Err(libc::EMFILE);
        facts.descriptors = Some(10);
    });
    assert!(
        text.contains("EMFILE") && text.contains("at least 768 are needed"),
        "{text}"
    );
    assert_eq!(text.matches("cannot start").count(), 1, "{text}");
}

#[test]
fn a_data_directory_that_cannot_be_written_says_why() {
    for (errno, part) in [
        (libc::EACCES, "belongs to another user"),
        (libc::EROFS, "mounted read-only"),
        (libc::ENOSPC, "full"),
        (libc::ENOTDIR, "in the way"),
        (libc::EIO, "EIO (Input/output error)"),
    ] {
        let text = directory_report(|directory| directory.created = Err(errno));
        assert!(text.contains("/data: ") && text.contains(part), "{text}");
        let text = directory_report(|directory| directory.writable = Err(errno));
        assert!(text.contains("/data: ") && text.contains(part), "{text}");
    }
}

#[test]
fn a_directory_without_direct_io_or_in_memory_is_refused_with_a_way_out() {
    for (filesystem, part) in [
        (OVERLAY, "overlayfs"),
        (FUSE, "FUSE"),
        (0x1234, "blocks of 4096 bytes"),
    ] {
        let text = directory_report(|directory| {
            directory.direct = Err(libc::EINVAL);
            directory.filesystem = Some(filesystem);
        });
        assert!(
            text.contains("does not take direct I/O") && text.contains(part),
            "{text}"
        );
        assert!(text.contains("--set log.dirs=DIR"), "{text}");
    }
    let text = directory_report(|directory| directory.filesystem = Some(TMPFS));
    assert!(
        text.contains("durability = flush promises more") && text.contains("durability=os"),
        "{text}"
    );
    let mut facts = good();
    facts.directory.filesystem = Some(TMPFS);
    facts.durability = Durability::Os;
    assert_eq!(diagnose(&facts), Ok(()));
    facts.directory.direct = Err(libc::EINVAL);
    assert!(
        diagnose(&facts)
            .expect_err("no direct I/O")
            .to_string()
            .contains("tmpfs of this kernel")
    );
    let text = directory_report(|directory| directory.direct = Err(libc::EIO));
    assert!(text.contains("dmesg"), "{text}");
    let text = directory_report(|directory| directory.direct = Err(libc::ENOSPC));
    assert!(text.contains("no space left"), "{text}");
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let text = report(|facts| {
        facts.ring = Err(libc::ENOSYS);
        facts.kernel = "6.14.6".to_owned();
        facts.memlock = Some(0);
        facts.descriptors = Some(0);
        facts.directory.created = Err(libc::EACCES);
    });
    assert_eq!(text.matches("cannot start").count(), 4, "{text}");
}

#[test]
fn the_gatherer_finds_this_host_and_leaves_nothing_in_the_directory() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let needs = Needs {
        shards: 1,
        data_directory: parent.path().join("a/b"),
        durability: Durability::Flush,
    };
    let facts = gather(&needs);
    assert!(kernel_version(&facts.kernel).is_some(), "{facts:?}");
    assert_eq!(
        (facts.directory.created, facts.directory.writable),
        (Ok(()), Ok(()))
    );
    assert!(facts.directory.filesystem.is_some());
    assert_eq!(
        std::fs::read_dir(&needs.data_directory)
            .expect("it was created")
            .count(),
        0
    );

    std::fs::write(parent.path().join("file"), "").expect("a file");
    let blocked = Needs {
        data_directory: parent.path().join("file/below"),
        ..needs
    };
    assert_eq!(gather(&blocked).directory.created, Err(libc::ENOTDIR));
    let text = diagnose(&gather(&blocked))
        .expect_err("no directory")
        .to_string();
    assert!(text.contains("in the way"), "{text}");
}

#[test]
fn the_seccomp_mode_is_read_from_the_process_status() {
    assert_eq!(
        seccomp_mode("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"),
        Some(2)
    );
    assert_eq!(seccomp_mode("Name:\tx\n"), None);
}
