//! Deciding over operations that failed, and giving up those that run.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    core::Core,
    error::{Failure, Result},
    model::{CancelMode, Kind, Occurrence, Progress, State},
};

impl Core {
    fn rests(&self, id: &str) -> Result<Occurrence> {
        let op = self.tables().operations.get(id).cloned();
        let op = op.ok_or_else(|| {
            Failure::conflict(format!(
                "the operation `{}` has ended, or never was",
                id.escape_debug()
            ))
        })?;
        if op.state != State::FailedTemp {
            return Err(Failure::conflict(format!(
                "the operation is {}, not FAILED_TEMP",
                op.state.text()
            )));
        }
        Ok(op)
    }

    /// Goes on where the operation failed.
    pub(crate) async fn retry(self: &Arc<Self>, id: &str) -> Result<()> {
        let op = self.rests(id)?;
        self.change_operation(id, |op| {
            op.state = State::Processing;
            op.entered = Timestamp::now();
            op.error = None;
            op.cancel = None;
            for step in &mut op.steps {
                if matches!(step.progress, Progress::Failed | Progress::Running) {
                    step.progress = Progress::Pending;
                }
            }
        });
        self.again(op, false).await
    }

    /// Undoes the operation.
    pub(crate) async fn rollback(self: &Arc<Self>, id: &str) -> Result<()> {
        let op = self.rests(id)?;
        let possible = match op.operation {
            Kind::Instantiate | Kind::ChangeVnfpkg | Kind::Operate => true,
            Kind::Scale => op.params["scaleIn"] == false,
            _ => false,
        };
        if !possible {
            return Err(Failure::refused(format!(
                "{} cannot be rolled back; retry it, or fail it",
                op.operation
            )));
        }
        self.change_operation(id, |op| {
            op.state = State::RollingBack;
            op.entered = Timestamp::now();
            op.cancel = None;
            op.back.iter_mut().for_each(|step| step.progress = Progress::Pending);
        });
        self.again(op, true).await
    }

    async fn again(self: &Arc<Self>, before: Occurrence, back: bool) -> Result<()> {
        if let Err(error) = self.submit(&before.id, back).await {
            self.change_operation(&before.id, |op| *op = before.clone());
            return Err(error);
        }
        Ok(())
    }

    /// Takes a failed operation as it is.
    pub(crate) async fn fail(self: &Arc<Self>, id: &str) -> Result<Occurrence> {
        self.rests(id)?;
        let op = self.record_operation(id, |op| {
            op.state = State::Failed;
            op.entered = Timestamp::now();
        })?;
        let (instance, failed) = {
            let mut tables = self.tables();
            let failed = tables
                .operations
                .get(id)
                .cloned()
                .ok_or_else(|| Failure::not_found("it is gone"))?;
            tables.operations.remove(id);
            (failed.instance.clone(), failed)
        };
        let change = self.record_instance(&instance, |instance| instance.operation = None)?;
        self.commit(op.into_iter().chain(change).collect()).await?;
        self.tell(&failed, State::Failed);
        self.watch_again(&instance).await;
        self.ended.notify_waiters();
        Ok(failed)
    }

    /// Gives a running operation up: after its script, or at once.
    pub(crate) async fn cancel(&self, id: &str, mode: CancelMode) -> Result<()> {
        let token = {
            let mut tables = self.tables();
            let tables = &mut *tables;
            let op = tables
                .operations
                .get_mut(id)
                .filter(|op| matches!(op.state, State::Processing | State::RollingBack));
            let op = op.ok_or_else(|| Failure::conflict("the operation does not run"))?;
            op.cancel = Some(mode);
            tables.cancels.get(id).cloned()
        };
        if mode == CancelMode::Forceful
            && let Some(token) = token
        {
            token.cancel();
        }
        Ok(())
    }
}
