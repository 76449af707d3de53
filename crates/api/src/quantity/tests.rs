//! Quantities against tables and against their own laws.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn q(text: &str) -> Quantity {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn canonical_form() {
    for (input, want) in [
        ("0", "0"),
        ("-0", "0"),
        ("0Ki", "0"),
        ("0.0", "0"),
        ("1", "1"),
        ("+1", "1"),
        ("007", "7"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("1.", "1"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("1.5", "1500m"),
        ("100m", "100m"),
        ("1000", "1k"),
        ("1000000", "1M"),
        ("1234567", "1234567"),
        ("12e3", "12e3"),
        ("12E3", "12e3"),
        ("1e-3", "1e-3"),
        ("1500e0", "1500"),
        ("1.5Gi", "1536Mi"),
        ("1Gi", "1Gi"),
        ("1024Mi", "1Gi"),
        ("0.5Gi", "512Mi"),
        ("1023", "1023"),
        ("512Ki", "512Ki"),
        ("0.5Ki", "512"),
        ("1025", "1025"),
        ("0.1Mi", "104857600m"),
        ("0.0001Ki", "102400u"),
        ("-5Gi", "-5Gi"),
        ("-0.5", "-500m"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("-0.1n", "-1n"),
        ("1e-30", "1e-9"),
        ("1E", "1E"),
        ("4Ei", "4Ei"),
        ("1u", "1u"),
        ("100000u", "100m"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "9223372036854775807"),
        ("100E", "9223372036854775807"),
        ("1e99999999999999999999", "9223372036854775807"),
        ("8Ei", "9223372036854775807"),
    ] {
        assert_eq!(q(input).to_string(), want, "{input}");
    }
}

#[test]
fn errors() {
    for (input, want) in [
        ("", Error::Format),
        ("abc", Error::Format),
        ("1.2.3", Error::Format),
        ("1 ", Error::Format),
        ("1Gi2x", Error::Format),
        ("-x", Error::Format),
        ("1Q", Error::Format),
        ("1é", Error::Format),
        ("+", Error::Numeric),
        (".", Error::Numeric),
        ("Gi", Error::Numeric),
        ("1K", Error::Suffix),
        ("1mi", Error::Suffix),
        ("1e", Error::Suffix),
        ("1i", Error::Suffix),
        ("1Gi3", Error::Suffix),
        ("1+3", Error::Suffix),
        ("--1", Error::Suffix),
    ] {
        assert_eq!(input.parse::<Quantity>(), Err(want), "{input:?}");
    }
    assert_eq!(
        Error::Format.to_string(),
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    );
}

#[test]
fn values_round_up() {
    assert_eq!(q("1500m").value(), 2);
    assert_eq!(q("-1500m").value(), -2);
    assert_eq!(q("1n").milli(), 1);
    assert_eq!(q("250m").milli(), 250);
    assert_eq!(q("2").milli(), 2000);
    assert_eq!(q("1Mi").value(), 1 << 20);
    assert_eq!(q("0.0005").round_to_milli().to_string(), "1m");
}

#[test]
fn arithmetic_keeps_the_format() {
    assert_eq!((q("1Gi") + q("1Mi")).to_string(), "1025Mi");
    assert_eq!((q("0") + q("1Mi")).to_string(), "1Mi");
    assert_eq!((q("1") - q("1500m")).to_string(), "-500m");
    assert_eq!(q("100m").times(3).to_string(), "300m");
    assert_eq!(["1Gi", "1Gi"].map(q).into_iter().sum::<Quantity>().to_string(), "2Gi");
    assert!(q("1Ki") > q("1k"));
    assert_eq!(q("1024"), q("1Ki"));
}

#[test]
fn out_of_objects() {
    assert_eq!(Quantity::from_value(&json!(1)), Ok(q("1")));
    assert_eq!(Quantity::from_value(&json!(0.5)), Ok(q("500m")));
    assert_eq!(Quantity::from_value(&json!(" 1Gi ")), Ok(q("1Gi")));
    assert_eq!(Quantity::from_value(&json!(true)), Err(Error::Format));
    assert_eq!(serde_json::to_value(q("1024Mi")).unwrap(), json!("1Gi"));
}

fn any_quantity() -> impl Strategy<Value = Quantity> {
    let format = prop_oneof![Just(Format::DecimalSi), Just(Format::BinarySi), Just(Format::DecimalExponent)];
    (-MAX..=MAX, 0u32..28, format)
        .prop_map(|(nano, shrink, format)| Quantity { nano: nano / 10i128.pow(shrink), format })
}

proptest! {
    #[test]
    fn display_parses_to_the_same(quantity in any_quantity()) {
        let text = quantity.to_string();
        prop_assert_eq!(q(&text), quantity);
        prop_assert_eq!(q(&text).to_string(), text, "not canonical");
    }

    #[test]
    fn order_is_that_of_the_numbers(a in -1_000_000i64..1_000_000, b in -1_000_000i64..1_000_000) {
        prop_assert_eq!(q(&format!("{a}m")).cmp(&q(&format!("{b}m"))), a.cmp(&b));
        prop_assert_eq!(q(&format!("{a}Ki")).cmp(&q(&format!("{b}Ki"))), a.cmp(&b));
    }

    #[test]
    fn sum_and_difference_undo_each_other(a in any_quantity(), b in any_quantity()) {
        prop_assert_eq!(a + b - b, a);
    }

    #[test]
    fn any_text_is_survived(text in "[-+]?[0-9.]{0,40}[eEinumkKMGTP]{0,3}[-+]?[0-9]{0,25}") {
        let _ = text.parse::<Quantity>();
    }
}
