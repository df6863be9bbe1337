//! What Redis answers. A stand-in says to every script whatever the input is, over a real connection; whoever can write to
//! Redis could do the same. Nothing of it may end the process, and what is taken for a session is what was sent.

use std::sync::{Arc, LazyLock, Mutex};

use faircross::game::difficulty::Difficulty;
use faircross::game::player::{AgentId, PlayerId, UserId};
use faircross::live::{Caller, Live, LiveSettings, Move, NamedRound, RateLimit, Session};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

struct StandIn {
    runtime: tokio::runtime::Runtime,
    live: Live,
    reply: Arc<Mutex<Vec<u8>>>,
}

static STAND_IN: LazyLock<StandIn> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
    let reply = Arc::new(Mutex::new(Vec::new()));
    let said = Arc::clone(&reply);
    let live = runtime.block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("redis://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&said)));
            }
        });
        let settings = LiveSettings {
            url: url.as_str().into(),
            tls: Default::default(),
            command_timeout_ms: 5_000,
            locks_enabled: true,
        };
        Live::connect(&settings).expect("an address")
    });
    StandIn { runtime, live, reply }
});

/// Answers scripts with the reply of the moment, who it is as a primary would, and everything else with OK.
async fn serve(stream: TcpStream, said: Arc<Mutex<Vec<u8>>>) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    while let Some(name) = command(&mut reader).await {
        let answer = if name.eq_ignore_ascii_case(b"EVALSHA") {
            said.lock().expect("a reply").clone()
        } else if name.eq_ignore_ascii_case(b"INFO") {
            let about = "redis_version:7.0.15\r\nredis_mode:standalone\r\nrole:master\r\n";
            format!("${}\r\n{about}\r\n", about.len()).into_bytes()
        } else {
            b"+OK\r\n".to_vec()
        };
        if writer.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// The name of the next command; its arguments are read over.
async fn command(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<Vec<u8>> {
    let mut name = None;
    for _ in 0..length(reader).await? {
        let mut argument = vec![0; length(reader).await? + 2];
        reader.read_exact(&mut argument).await.ok()?;
        argument.truncate(argument.len() - 2);
        name.get_or_insert(argument);
    }
    name
}

/// The number in a line such as `*3` or `$12`.
async fn length(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<usize> {
    let mut line = String::new();
    reader.read_line(&mut line).await.ok()?;
    line.get(1..)?.trim_end().parse().ok()
}

/// A list of texts as Redis writes it.
fn as_list(values: &[&[u8]]) -> Vec<u8> {
    let mut list = format!("*{}\r\n", values.len()).into_bytes();
    for value in values {
        list.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
        list.extend_from_slice(value);
        list.extend_from_slice(b"\r\n");
    }
    list
}

/// The lines of the input are the values of the reply.
pub fn lua_replies(input: &[u8]) -> bool {
    let values: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    let stand_in = &*STAND_IN;
    *stand_in.reply.lock().expect("a reply") = as_list(&values);
    stand_in.runtime.block_on(ask_everything(&stand_in.live, &values))
}

async fn ask_everything(live: &Live, values: &[&[u8]]) -> bool {
    let player = PlayerId {
        agent_id: AgentId::parse("agent456").expect("an agent's id"),
        user_id: UserId::parse("user123").expect("a user's id"),
    };
    let rate_limit = RateLimit { requests: 1, window_ms: 1 };
    let caller = || Caller {
        player: &player,
        generation: 1,
        rate_limit,
        now_unix_ms: 0,
    };
    let stepped = live.step(caller(), 0, NamedRound::default()).await;
    let cashed_out = live.cash_out(caller(), None, NamedRound::default()).await;
    for moved in [&stepped, &cashed_out] {
        match moved {
            Ok(Move::Standing(session) | Move::Ended(session) | Move::OutOfSequence(session) | Move::TooEarly(session)) => {
                assert_is_what_was_sent(session, values);
            }
            Ok(Move::RoundMismatch(session)) => assert_is_what_was_sent(session, values),
            Ok(Move::Safe { lane }) => assert_eq!(*lane, 0, "the lane that was named"),
            Ok(Move::Refused(_) | Move::Missing) | Err(_) => {}
        }
    }
    let _ = live.read_session(caller()).await;
    let _ = live.session_of(&player).await;
    let _ = live.end_at_deadline(&player, 5).await;
    let _ = live.begin_bet(caller(), Difficulty::Easy, "token").await;
    let _ = live.read_hazards(Difficulty::Easy).await;
    let _ = live.check_caller(caller(), true).await;
    matches!(stepped, Ok(Move::Standing(_) | Move::Ended(_)))
}

fn assert_is_what_was_sent(session: &Session, values: &[&[u8]]) {
    let text = |place: usize| std::str::from_utf8(values[place]).expect("text");
    assert_eq!(text(1).parse(), Ok(session.sequence));
    assert_eq!((text(2), Some(text(3))), (session.round_id.as_str(), session.round_json.as_deref()));
    assert_eq!(text(4).parse(), Ok(session.current_step));
    assert_eq!((text(5) == "1", text(6) == "1"), (session.is_active, session.is_win));
    assert_eq!(text(7), session.end.map_or("", |end| end.as_str()));
    assert_eq!(text(8).parse(), Ok(session.first_collision.map_or(-1, i16::from)));
    assert_eq!(text(9).parse(), Ok(session.max_lane));
}
