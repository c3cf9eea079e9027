//! A listener whose process has no descriptors left must neither spin nor die: it says so, at most some twenty
//! times a second, and accepts again when there are some. (A test file of its own: the limit is the process's.)

use std::time::Duration;

use net::platform::block_on;

#[test]
fn accepting_without_descriptors_fails_slowly_and_recovers() {
    block_on(async |runtime| {
        let listener = runtime
            .listen("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let client = runtime
            .connect(listener.local_address().unwrap())
            .await
            .unwrap();
        let mut hoard = Vec::new();
        let limit = libc::rlimit {
            rlim_cur: 64,
            rlim_max: 64,
        };
        // SAFETY: `limit` is readable and outlives the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
        while let Ok(file) = std::fs::File::open("/dev/null") {
            hoard.push(file);
        }
        let before = runtime.monotonic();
        for _ in 0..3 {
            let refused = listener.accept().await.err().unwrap();
            assert_eq!(refused.raw_os_error(), Some(libc::EMFILE));
        }
        assert!(runtime.monotonic() - before >= Duration::from_millis(100));
        drop(hoard);
        let accepted = listener.accept().await.unwrap();
        assert_eq!(
            accepted.peer_address().unwrap(),
            client.local_address().unwrap()
        );
    });
}
