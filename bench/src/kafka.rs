//! Apache Kafka 4.3.1 from its jars: getting them with Maven, and how a node of it is configured.
//!
//! The jars and their `pom.xml` are those of the checks in `.ci`, and are shared with them in `~/.cache/tidelog`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Error, Result};

const POM: &str = include_str!("../../engine/tests/drivers/java/kafka-pom.xml");

/// Heap and collector, as its own scripts would set them on a machine of this size.
const JVM: [&str; 4] = [
    "-Xms2g",
    "-Xmx2g",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
];

/// The class path of all jars; fetches them first if need be.
pub fn class_path() -> Result<String> {
    let cache = std::env::var_os("TIDELOG_CACHE").map_or_else(
        || {
            let home = std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into());
            PathBuf::from(home).join(".cache/tidelog")
        },
        PathBuf::from,
    );
    let folder = cache.join("kafka-4.3.1");
    let installed = folder.join("installed");
    if std::fs::read_to_string(&installed).ok().as_deref() != Some(POM) {
        eprintln!("fetching Apache Kafka 4.3.1 with Maven");
        let pom = folder.join("pom");
        std::fs::create_dir_all(&pom)
            .and_then(|()| std::fs::write(pom.join("pom.xml"), POM))
            .map_err(Error::io("preparing the folder of Kafka's jars"))?;
        let status = Command::new("mvn")
            .args([
                "-q",
                "-B",
                "dependency:copy-dependencies",
                "-DoutputDirectory=../libs",
            ])
            .current_dir(&pom)
            .stdin(Stdio::null())
            .status()
            .map_err(Error::io("mvn"))?;
        if !status.success() {
            return Err(Error::failed("Maven did not get Kafka's jars"));
        }
        std::fs::write(&installed, POM).map_err(Error::io("noting that Kafka's jars are there"))?;
    }
    Ok(folder.join("libs/*").display().to_string())
}

/// Writes the configuration, formats the data directory, and gives the command that runs the node.
pub fn command(
    class_path: &str,
    port: u16,
    data: &Path,
    extra: &[(&str, &str)],
) -> Result<Vec<String>> {
    let controller = port + 1;
    let mut properties = format!(
        "process.roles=broker,controller\nnode.id=1\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         inter.broker.listener.name=PLAINTEXT\ncontroller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
         log.dirs={}\nnum.network.threads=2\nnum.io.threads=2\nauto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\nshare.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n",
        data.display()
    );
    // The node is stopped (SIGSTOP) while the other broker is measured; that must not count as its death. Deleted
    // topics give their space back before the next measurement.
    properties += "broker.session.timeout.ms=3600000\nlog.segment.delete.delay.ms=500\n\
                   log.index.size.max.bytes=1048576\n";
    for (name, value) in extra {
        properties += &format!("{name}={value}\n");
    }
    let path = data.with_extension("properties");
    std::fs::write(&path, properties).map_err(Error::io("writing Kafka's configuration"))?;
    let path = path.display().to_string();
    if !data.join("meta.properties").exists() {
        let formatted = Command::new("java")
            .args([
                "-Xmx256m",
                "-cp",
                class_path,
                "kafka.tools.StorageTool",
                "format",
            ])
            .args(["-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", &path, "--standalone"])
            .stdin(Stdio::null())
            .output()
            .map_err(Error::io("java"))?;
        if !formatted.status.success() {
            let text = String::from_utf8_lossy(&formatted.stderr).into_owned();
            return Err(Error::failed(format!(
                "formatting Kafka's directory: {text}"
            )));
        }
    }
    let words = ["java"]
        .into_iter()
        .chain(JVM)
        .chain(["-cp", class_path, "kafka.Kafka", &path]);
    Ok(words.map(str::to_owned).collect())
}
