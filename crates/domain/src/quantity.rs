//! Quantities as Kubernetes writes them: `500m`, `2`, `10Gi`.

/// A quantity in thousandths; none where it is no quantity, or finer than that.
pub fn milli(quantity: &str) -> Option<i128> {
    let text = quantity.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && !".+-".contains(c))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let scale: i128 = match suffix {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "P" => 1_000_000_000_000_000_000,
        "E" => 1_000_000_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        "Pi" => 1_000 << 50,
        "Ei" => 1_000 << 60,
        // `1e3`, which is a way to write 1k.
        _ => {
            let exponent: u32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            10_i128.checked_pow(exponent)?.checked_mul(1_000)?
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    let whole: i128 = match whole.trim_start_matches(['+', '-']) {
        "" if !fraction.is_empty() => 0,
        digits => digits.parse().ok()?,
    };
    let mut total = whole.checked_mul(scale)?;
    if !fraction.is_empty() {
        let divisor = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let part = fraction.parse::<i128>().ok()?.checked_mul(scale)?;
        if part % divisor != 0 {
            return None;
        }
        total = total.checked_add(part / divisor)?;
    }
    Some(sign * total)
}

/// Thousandths as a quantity of cores, of pods ….
pub fn plain(milli: i128) -> String {
    if milli % 1_000 == 0 {
        (milli / 1_000).to_string()
    } else {
        format!("{milli}m")
    }
}

/// Thousandths as a quantity of bytes, in the largest unit that needs no fraction.
pub fn bytes(milli: i128) -> String {
    let units = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    let whole = milli / 1_000;
    let fits = |(_, bits): &&(&str, u32)| whole != 0 && milli % (1_000_i128 << *bits) == 0;
    match units.iter().find(fits) {
        Some((unit, bits)) => format!("{}{unit}", whole >> bits),
        None => plain(milli),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_amount_is_the_same_however_it_is_written() {
        for (one, other) in [
            ("0.5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("1k", "1000"),
            (".5", "500m"),
            ("5.", "5"),
            ("1e3", "1k"),
            ("1E6", "1M"),
            ("1E", "1000P"),
            ("1Ei", "1024Pi"),
            ("-1", "-1000m"),
        ] {
            assert_eq!(milli(one), milli(other), "{one}");
        }
        for text in ["", ".", "banana", "1e400", "1ee3", "1n"] {
            assert_eq!(milli(text), None, "{text}");
        }
    }

    #[test]
    fn amounts_are_written_without_fractions() {
        for (quantity, want) in [("2", "2"), ("1500m", "1500m"), ("0", "0")] {
            assert_eq!(milli(quantity).map(plain).as_deref(), Some(want));
        }
        for (quantity, want) in [
            ("2048Mi", "2Gi"),
            ("1.5Gi", "1536Mi"),
            ("1000", "1000"),
            ("0", "0"),
            ("2Ti", "2Ti"),
        ] {
            assert_eq!(milli(quantity).map(bytes).as_deref(), Some(want), "{quantity}");
        }
    }
}
