//! The last disaster of a chapter: PostgreSQL is put back to an older copy while Redis, the operator and the players know what came
//! after it. `faircross restore` is killed on its way, run again, and has to bring the books into agreement.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;

use crate::chapter::{Chapter, Episode, pause, seat_people};
use crate::dice::Dice;
use crate::world::wait_for;

/// People who come to the table after the restore.
const PEOPLE: usize = 30;
/// Where a restore can be killed.
const POINTS: [&str; 5] = ["R1", "R2", "R3", "R4", "R5"];

impl Chapter {
    /// Rounds are open when the copy is made, and others when the copy takes the place of what was written since.
    pub async fn put_back_an_old_copy(&mut self, dice: &mut Dice) {
        self.tally_table().await;
        self.play_past_a_copy(dice).await;
        let restored = AssertUnwindSafe(self.restore(dice)).catch_unwind().await;
        if restored.is_err() {
            self.note(&Episode::Restore, "the restore failed, see above");
            return;
        }
        self.fleet.start_all(&self.world).await;
        // Everybody was signed out. What was told before is not in the record any more.
        self.table = seat_people(&self.fleet, PEOPLE, 30, 1).await;
        let crowd = self.table.play(self.setting.seats, dice);
        pause(dice.between(1_000, 2_000)).await;
        self.settle(&Episode::Restore, crowd).await;
        self.report.restores += 1;
    }

    async fn play_past_a_copy(&mut self, dice: &mut Dice) {
        let crowd = self.table.play(self.setting.seats, dice);
        pause(dice.between(1_000, 2_000)).await;
        self.fleet.kill_all().await;
        let world = self.world.database.clone();
        let copy = format!("{world}_copy");
        let copying = format!("create database {copy} template {world}");
        // Behind a host that vanished a backend never notices that its server was killed, and until it ends nothing can be copied.
        let ending = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{world}'");
        wait_for("the copy is made", async || {
            self.postgres_executes(&ending).await;
            let copying = copying.clone();
            let made = self.postgres.with(move |cluster| cluster.execute("postgres", &copying)).await;
            made.map(drop).map_err(|error| error.to_string())
        })
        .await;
        self.fleet.start_all(&self.world).await;
        pause(dice.between(2_000, 4_000)).await;
        self.fleet.kill_all().await;
        if let Err(hang) = crowd.go_home().await {
            self.note(&Episode::Restore, &hang);
        }
        for unexpected in self.table.transcript.take_unexpected() {
            self.note(&Episode::Restore, &unexpected);
        }
        self.postgres_executes(&format!("drop database {world} with (force)")).await;
        self.postgres_executes(&format!("alter database {copy} rename to {world}")).await;
    }

    async fn restore(&self, dice: &mut Dice) {
        let ledger = self.world.operator.ledger_url();
        let order = ["restore", "--yes", "--operator-ledger", &ledger];
        let point = POINTS[dice.place(POINTS.len())];
        let armed = format!("{point}=1*return(kill)");
        let (status, text) = self.world.command_with(&[("FAILPOINTS", &armed)], &order).await;
        assert!(
            status == 0 || text.contains(&format!("failpoint {point} reached")),
            "{status}: {text}"
        );
        let (status, text) = self.world.command(&order).await;
        assert_eq!(status, 0, "{text}");
    }
}
