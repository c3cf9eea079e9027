//! Times and durations as people write them (ISO 8601). Pure; years 1970 to 9999 of the Gregorian calendar.

const DAY_MS: i64 = 86_400_000;

/// `2026-01-31T12:00[:30[.125]][Z|+01:00]` as milliseconds since 1970; UTC unless it says otherwise.
pub(super) fn parse_datetime_ms(text: &str) -> Result<i64, String> {
    datetime(text).ok_or_else(|| {
        format!("{text}: give a time as 2026-01-31T12:00:00.000, with Z or +01:00 if need be")
    })
}

fn datetime(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00"));
    let mut date = date.split('-');
    let mut field = || date.next()?.parse::<i64>().ok();
    let (year, month, day) = (field()?, field()?, field()?);
    let (time, zone_ms) = zone(time)?;
    let mut time = time.split(':');
    let (hour, minute): (i64, i64) = (time.next()?.parse().ok()?, time.next()?.parse().ok()?);
    let second_ms = match time.next() {
        Some(second) => decimal_ms(second)?,
        None => 0,
    };
    let plausible = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60_000).contains(&second_ms)
        && time.next().is_none()
        && date.next().is_none();
    let clock = hour * 3_600_000 + minute * 60_000 + second_ms;
    plausible.then(|| days(year, month, day) * DAY_MS + clock - zone_ms)
}

/// The time without its zone, and the zone in milliseconds east of Greenwich.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let Some(at) = time.find(['+', '-']) else {
        return Some((time, 0));
    };
    let (time, zone) = time.split_at(at);
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits: String = zone[1..].chars().filter(|letter| *letter != ':').collect();
    if digits.len() != 4 && digits.len() != 2 {
        return None;
    }
    let hours: i64 = digits.get(..2)?.parse().ok()?;
    let minutes: i64 = digits
        .get(2..)
        .filter(|rest| !rest.is_empty())
        .map_or(Ok(0), str::parse)
        .ok()?;
    Some((time, sign * (hours * 60 + minutes) * 60_000))
}

/// `30.125` as 30125; further digits are left out.
fn decimal_ms(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    if whole < 0 || !fraction.chars().all(|letter| letter.is_ascii_digit()) {
        return None;
    }
    let mut digits: String = fraction.chars().take(3).collect();
    while digits.len() < 3 {
        digits.push('0');
    }
    whole.checked_mul(1_000)?.checked_add(digits.parse().ok()?)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1 January 1970.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let leap_days = |year: i64| year / 4 - year / 100 + year / 400;
    let before = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    before + (1..month).map(|month| days_in(year, month)).sum::<i64>() + day - 1
}

/// `P7D`, `PT2H30M`, `P1DT0.5S` in milliseconds.
pub(super) fn parse_duration_ms(text: &str) -> Result<i64, String> {
    duration(text).ok_or_else(|| format!("{text}: give a duration as P7D or PT2H30M"))
}

fn duration(text: &str) -> Option<i64> {
    let rest = text.strip_prefix('P')?;
    let (date, time) = rest.split_once('T').unwrap_or((rest, ""));
    if date.is_empty() && time.is_empty() {
        return None;
    }
    let parts = [
        (date, &[('W', 7 * DAY_MS), ('D', DAY_MS)][..]),
        (time, &[('H', 3_600_000), ('M', 60_000), ('S', 1_000)][..]),
    ];
    let mut total = 0_i64;
    for (mut text, units) in parts {
        for (letter, unit) in units {
            if let Some((number, left)) = text.split_once(*letter) {
                let thousandths = decimal_ms(number).filter(|_| !number.is_empty())?;
                total = total.checked_add(thousandths.checked_mul(unit / 1_000)?)?;
                text = left;
            }
        }
        if !text.is_empty() {
            return None;
        }
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_from_1970_in_utc() {
        for (text, milliseconds) in [
            ("1970-01-01T00:00:00", 0),
            ("2000-03-01T00:00", 951_868_800_000),
            ("2024-02-29T23:59:59.999", 1_709_251_199_999),
            ("2026-11-23T16:15:32Z", 1_795_450_532_000),
            ("2026-11-23T17:15:32.5+01:00", 1_795_450_532_500),
            ("2026-11-23T11:15:32-0500", 1_795_450_532_000),
            ("2026-11-23", 1_795_392_000_000),
        ] {
            assert_eq!(parse_datetime_ms(text), Ok(milliseconds), "{text}");
        }
        for wrong in [
            "",
            "2026",
            "2026-02-30T00:00",
            "2026-01-01T24:00",
            "2026-01-01T1",
            "soon",
            "2026-01-01T00:00+1",
        ] {
            assert!(parse_datetime_ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_java_s() {
        for (text, milliseconds) in [
            ("P7D", 604_800_000),
            ("PT2H30M", 9_000_000),
            ("P1DT0.5S", 86_400_500),
            ("PT0S", 0),
            ("P1W", 604_800_000),
        ] {
            assert_eq!(parse_duration_ms(text), Ok(milliseconds), "{text}");
        }
        for wrong in ["", "P", "7D", "PT", "P7", "PT5X", "P-1D", "PTS"] {
            assert!(parse_duration_ms(wrong).is_err(), "{wrong}");
        }
    }
}
