//! Mutual exclusion between tasks of one executor, also across awaits.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use super::semaphore::{Permit, Semaphore};

/// A value that one task at a time may use. Cheap to clone; all clones guard one value.
pub struct Mutex<T> {
    semaphore: Semaphore,
    value: Rc<UnsafeCell<T>>,
}

/// The right to use the value, until dropped.
pub struct MutexGuard<T> {
    _permit: Permit,
    value: Rc<UnsafeCell<T>>,
}

impl<T> Clone for Mutex<T> {
    fn clone(&self) -> Self {
        Mutex {
            semaphore: self.semaphore.clone(),
            value: self.value.clone(),
        }
    }
}

impl<T> Mutex<T> {
    /// Unlocked.
    pub fn new(value: T) -> Self {
        Mutex {
            semaphore: Semaphore::new(1),
            value: Rc::new(UnsafeCell::new(value)),
        }
    }

    /// Waits for its turn.
    pub async fn lock(&self) -> MutexGuard<T> {
        MutexGuard {
            _permit: self.semaphore.acquire(1).await,
            value: self.value.clone(),
        }
    }

    /// The value if nobody has it or waits for it.
    pub fn try_lock(&self) -> Option<MutexGuard<T>> {
        Some(MutexGuard {
            _permit: self.semaphore.try_acquire(1)?,
            value: self.value.clone(),
        })
    }
}

impl<T> Deref for MutexGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the one permit of this mutex is held by this guard, so no other guard's reference exists.
        unsafe { &*self.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the one permit of this mutex is held by this guard, which is borrowed mutably.
        unsafe { &mut *self.value.get() }
    }
}
