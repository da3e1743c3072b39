//! One question to a name server, by UDP, with DNSSEC asked for.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_resolver::proto::op::{Edns, Message, Query};
use hickory_resolver::proto::rr::{Name, RecordType};

const PATIENCE: Duration = Duration::from_secs(15);
const DATAGRAM_BYTES_MAX: usize = 4096;

/// What came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// `No Error`, `Server Failure`, …
    pub code: String,
    /// The resolver says that it checked all signatures.
    pub authentic: bool,
    /// The types of the answer's records.
    pub kinds: Vec<RecordType>,
    /// The data of the answer's records of the type asked for.
    pub records: Vec<String>,
}

/// Asks; panics if nothing comes.
pub fn ask(server: IpAddr, name: &str, kind: RecordType) -> Answer {
    let mut question = Message::query();
    let name = Name::from_ascii(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    question.add_query(Query::query(name.clone(), kind));
    question.metadata.recursion_desired = true;
    question.metadata.authentic_data = true;
    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_dnssec_ok(true);
    question.set_edns(edns);
    let octets = question.to_vec().expect("a question of our own");
    let answered = (|| {
        let socket = UdpSocket::bind(("127.0.0.1", 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(SocketAddr::new(server, 53))?;
        socket.send(&octets)?;
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let count = socket.recv(&mut buffer)?;
        Message::from_vec(&buffer[..count]).map_err(std::io::Error::other)
    })();
    let answer = answered.unwrap_or_else(|error| panic!("{server} about {name} {kind}: {error}"));
    Answer {
        code: answer.metadata.response_code.to_string(),
        authentic: answer.metadata.authentic_data,
        kinds: answer.answers.iter().map(|record| record.record_type()).collect(),
        records: answer
            .answers
            .iter()
            .filter(|record| record.record_type() == kind)
            .map(|record| record.data.to_string())
            .collect(),
    }
}
