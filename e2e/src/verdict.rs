//! Whether a restored database is the one that was copied, by its table `heartbeat` of numbered rows.

use crate::error::{Error, Result};

/// Numbered rows up to the last that was committed before the consistency point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// How many.
    pub count: u64,
    /// Over all of them, in order.
    pub checksum: String,
}

/// What the restored database answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The same rows, read again.
    pub rows: Rows,
    /// The highest row that is there.
    pub highest: u64,
    /// How many rows are there.
    pub total: u64,
}

impl Rows {
    /// Rows 1 to `upto` of the database that `query` asks: it runs SQL and returns bare values.
    pub fn read(query: impl Fn(&str) -> Result<String>, upto: u64) -> Result<Self> {
        let answer = query(&format!(
            "select count(*) || ' ' || md5(coalesce(string_agg(heartbeat::text, ',' order by n), ''))
             from heartbeat where n <= {upto}"
        ))?;
        let (count, checksum) = answer.split_once(' ').unwrap_or_default();
        Ok(Self {
            count: number(count)?,
            checksum: checksum.to_owned(),
        })
    }
}

impl Restored {
    /// As [`Rows::read`].
    pub fn read(query: impl Fn(&str) -> Result<String>, upto: u64) -> Result<Self> {
        let answer = query("select coalesce(max(n), 0) || ' ' || count(*) from heartbeat")?;
        let (highest, total) = answer.split_once(' ').unwrap_or_default();
        Ok(Self {
            rows: Rows::read(query, upto)?,
            highest: number(highest)?,
            total: number(total)?,
        })
    }
}

fn number(text: &str) -> Result<u64> {
    text.parse()
        .map_err(Error::unexpected(format!("the number {text:?} of the database")))
}

/// What is wrong with a restored database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Rows that were committed before the copy began are not there.
    #[error("{missing} of {committed} rows that were committed before the consistency point are lost")]
    Lost {
        /// How many.
        missing: u64,
        /// Of how many.
        committed: u64,
    },
    /// They are there, but not as they were.
    #[error(
        "rows that were committed before the consistency point have the checksum {after} instead of {before}"
    )]
    Changed {
        /// When they were counted.
        before: String,
        /// After the restore.
        after: String,
    },
    /// Of the rows after the consistency point some came back, but not a whole beginning of them.
    #[error("the highest row is {highest}, but there are {total}: one before it is missing")]
    Gap {
        /// The highest row.
        highest: u64,
        /// How many rows there are.
        total: u64,
    },
}

/// Rows are numbered from 1 without gaps, each committed by itself. All of those before the consistency point have to be
/// back, as they were; of those after it any whole beginning may be.
pub fn judge(before: &Rows, restored: &Restored) -> std::result::Result<(), Wrong> {
    let rows = &restored.rows;
    if rows.count < before.count {
        return Err(Wrong::Lost {
            missing: before.count - rows.count,
            committed: before.count,
        });
    }
    if rows != before {
        return Err(Wrong::Changed {
            before: before.checksum.clone(),
            after: rows.checksum.clone(),
        });
    }
    if restored.highest != restored.total {
        return Err(Wrong::Gap {
            highest: restored.highest,
            total: restored.total,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: u64, checksum: &str) -> Rows {
        Rows {
            count,
            checksum: checksum.into(),
        }
    }
    fn restored(rows: Rows, highest: u64, total: u64) -> Restored {
        Restored { rows, highest, total }
    }

    #[test]
    fn all_that_was_committed_has_to_be_back_as_it_was() {
        let before = rows(10, "a");
        assert_eq!(judge(&before, &restored(rows(10, "a"), 10, 10)), Ok(()));
        assert_eq!(judge(&before, &restored(rows(10, "a"), 12, 12)), Ok(()));
        let lost = judge(&before, &restored(rows(7, "b"), 7, 7));
        assert_eq!(
            lost,
            Err(Wrong::Lost {
                missing: 3,
                committed: 10
            })
        );
        let changed = judge(&before, &restored(rows(10, "b"), 10, 10));
        assert!(matches!(changed, Err(Wrong::Changed { .. })));
        let gap = judge(&before, &restored(rows(10, "a"), 13, 12));
        assert_eq!(
            gap,
            Err(Wrong::Gap {
                highest: 13,
                total: 12
            })
        );
    }
}
