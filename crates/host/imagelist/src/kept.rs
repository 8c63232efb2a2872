//! What every run reads of all records, kept as long as no record was changed: a run of a cache that has all it wants
//! then costs a look at its files.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use vnode_store::{Changes, Store};

/// Most that is kept, about 500 bytes of memory each; with more every run reads its records.
const MOST: usize = 20_000;

/// What was made of all records with one prefix.
pub(crate) struct Kept<T> {
    changes: Changes,
    made: Mutex<Option<(u64, Arc<Vec<T>>)>>,
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl<T> Kept<T> {
    pub(crate) fn of(store: &dyn Store, prefix: &str) -> Self {
        Self { changes: store.changes(prefix), made: Mutex::default() }
    }

    /// What `read` gives, or gave before when no commit has touched the records since.
    pub(crate) async fn get<E>(
        &self,
        read: impl Future<Output = Result<Vec<T>, E>>,
    ) -> Result<Arc<Vec<T>>, E> {
        // Before the records are read: a commit that comes in between makes what is kept of no use, never wrong.
        let count = self.changes.count();
        if let Some((at, made)) = &*self.made()
            && *at == count
        {
            return Ok(Arc::clone(made));
        }
        let made = Arc::new(read.await?);
        *self.made() = (made.len() <= MOST).then(|| (count, Arc::clone(&made)));
        Ok(made)
    }

    fn made(&self) -> MutexGuard<'_, Option<(u64, Arc<Vec<T>>)>> {
        // Nothing that can panic runs under it.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use vnode_store::Change;

    use super::*;

    #[tokio::test]
    async fn it_is_read_again_after_a_change_and_only_then() {
        let store = vnode_store::memory();
        let kept = Kept::of(store.as_ref(), "a/");
        let get = |now: u32| kept.get(async move { Ok::<_, Infallible>(vec![now]) });
        assert_eq!(*get(1).await.unwrap(), [1]);
        assert_eq!(*get(2).await.unwrap(), [1]);
        store.commit(vec![Change::put("b/1", Vec::new())]).await.unwrap();
        assert_eq!(*get(3).await.unwrap(), [1]);
        store.commit(vec![Change::put("a/1", Vec::new())]).await.unwrap();
        assert_eq!(*get(4).await.unwrap(), [4]);
        // A commit while it is read: what was read may be older.
        store.commit(vec![Change::delete("a/1")]).await.unwrap();
        let read = kept.get(async {
            store.commit(vec![Change::put("a/2", Vec::new())]).await.unwrap();
            Ok::<_, Infallible>(vec![5])
        });
        assert_eq!(*read.await.unwrap(), [5]);
        assert_eq!(*get(6).await.unwrap(), [6]);
        let failed = kept.get(async { Err::<Vec<u32>, _>("x") });
        assert_eq!(*failed.await.unwrap(), [6]);
    }

    #[tokio::test]
    async fn what_is_too_much_is_not_kept() {
        let store = vnode_store::memory();
        let kept = Kept::of(store.as_ref(), "");
        let get = |now: usize| kept.get(async move { Ok::<_, Infallible>(vec![now; MOST + now]) });
        assert_eq!(get(1).await.unwrap()[0], 1);
        assert_eq!(get(2).await.unwrap()[0], 2);
    }
}
