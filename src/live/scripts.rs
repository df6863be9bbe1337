//! The Lua scripts, one function of [`super::Live`] each. A script is sent by its hash; when Redis does not know it (after a restart or
//! SCRIPT FLUSH) it is loaded and run again, inside the same deadline.
//!
//! Every script gets one argument more than it names, as its last one: the run of Redis to which the connection belongs. A script could
//! ask for it, at the price of everything else that it does together.
//!
//! All but `begin_bet` and the look at permissions also run when Redis is full.

use std::sync::LazyLock;

use redis::{Cmd, ErrorKind, RedisResult, Script, ServerErrorKind, ToRedisArgs};

use super::connection::CountedConnection;
use super::reply::Reply;
use super::{Live, LiveError};

/// Declares a script by its parts, in the order in which Lua reads them.
macro_rules! scripts {
    ($($(#[$about:meta])* $name:ident = $($file:literal)+;)+) => {
        $($(#[$about])* pub(super) static $name: LuaScript =
            LuaScript(LazyLock::new(|| Script::new(concat!($(include_str!(concat!("../../lua/", $file)), "\n"),+))));)+
    };
}

scripts! {
    BEGIN_BET = "shared/base.lua" "shared/gate.lua" "shared/lock.lua" "begin_bet.lua";
    CHECK_CALLER = "shared/allow_oom.lua" "shared/base.lua" "shared/gate.lua" "check_caller.lua";
    OPEN_SESSION = "shared/allow_oom.lua" "shared/base.lua" "shared/lock.lua" "shared/session.lua" "open_session.lua";
    STEP = "shared/allow_oom.lua" "usual_step.lua" "shared/base.lua" "shared/gate.lua" "shared/session.lua" "step.lua";
    CASH_OUT = "shared/allow_oom.lua" "shared/base.lua" "shared/gate.lua" "shared/session.lua" "cash_out.lua";
    END_AT_DEADLINE = "shared/allow_oom.lua" "shared/base.lua" "shared/session.lua" "end_at_deadline.lua";
    READ_SESSION = "shared/allow_oom.lua" "shared/base.lua" "shared/gate.lua" "shared/session.lua" "read_session.lua";
    PEEK_SESSION = "shared/allow_oom.lua" "shared/base.lua" "shared/session.lua" "peek_session.lua";
    DISCARD_SESSION = "shared/allow_oom.lua" "shared/base.lua" "shared/session.lua" "discard_session.lua";
    RETIRE_SESSION = "shared/allow_oom.lua" "shared/base.lua" "shared/session.lua" "retire_session.lua";
    WRITE_PLAYER = "shared/allow_oom.lua" "shared/base.lua" "write_player.lua";
    PUBLISH_HAZARDS = "shared/allow_oom.lua" "shared/base.lua" "publish_hazards.lua";
    READ_HAZARDS = "shared/allow_oom.lua" "shared/base.lua" "read_hazards.lua";
    KEEP_MARK = "shared/allow_oom.lua" "keep_mark.lua";
    ACQUIRE_LOCK = "shared/allow_oom.lua" "shared/base.lua" "shared/lock.lua" "acquire_lock.lua";
    RELEASE_LOCK = "shared/allow_oom.lua" "shared/lock.lua" "release_lock.lua";
    CHECK_RIGHTS = "check_rights.lua";
}

/// Room for a step's command, so that it is not moved to more room again and again while it is put together.
const USUAL_ARGUMENTS: usize = 12;
const USUAL_BYTES: usize = 320;

/// The hash under which Redis knows the step's script, for the tool that measures it.
pub fn hash_of_step() -> &'static str {
    STEP.0.get_hash()
}

/// A script with its hash.
pub(super) struct LuaScript(LazyLock<Script>);

impl LuaScript {
    /// A call on these keys, without arguments yet.
    pub(super) fn on(&'static self, keys: &[&str]) -> ScriptCall {
        let mut command = Cmd::with_capacity(USUAL_ARGUMENTS, USUAL_BYTES);
        command.arg("EVALSHA").arg(self.0.get_hash()).arg(keys.len()).arg(keys);
        ScriptCall { script: self, command }
    }
}

/// A script with the keys and arguments of one call.
pub(super) struct ScriptCall {
    script: &'static LuaScript,
    command: Cmd,
}

impl ScriptCall {
    /// The next of its arguments.
    pub(super) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }

    async fn run_on(&self, connection: &mut CountedConnection) -> RedisResult<Vec<Vec<u8>>> {
        let mut command = self.command.clone();
        command.arg(connection.run_of_redis());
        match command.query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.script.0.load_async(connection).await?;
                command.query_async(connection).await
            }
            answered => answered,
        }
    }
}

impl Live {
    /// Runs a script and hands back its reply. `key` is the one that the reply is about.
    pub(super) async fn run_script<'a>(&self, key: &'a str, call: &ScriptCall) -> Result<Reply<'a>, LiveError> {
        let ran = self
            .connection
            .run(key, |mut counted| async move { call.run_on(&mut counted).await });
        Ok(Reply::new(key, ran.await?))
    }
}
