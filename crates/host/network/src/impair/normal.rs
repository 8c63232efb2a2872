//! Tables for netem's jitter: 4,096 deviations in 1/8192 of the jitter, of which netem draws one for each frame.

/// Entries; as many as the tables that come with `tc` have.
const SIZE: u32 = 4096;
/// `NETEM_DIST_SCALE`.
const SCALE: f64 = 8192.0;

/// A table whose values are spread like the normal distribution with standard deviation 1, up to four of them.
pub(super) fn normal() -> Vec<u8> {
    table(quantile)
}

/// A table of values spread evenly over -1..1. Needed because netem cannot forget a table, only take another.
pub(super) fn uniform() -> Vec<u8> {
    table(|probability| 2.0 * probability - 1.0)
}

fn table(deviation: impl Fn(f64) -> f64) -> Vec<u8> {
    (0..SIZE)
        .map(|at| deviation((f64::from(at) + 0.5) / f64::from(SIZE)))
        // The cast saturates: the table's type ends at four standard deviations.
        .flat_map(|value| ((value * SCALE).round() as i16).to_ne_bytes())
        .collect()
}

/// Quantile of the standard normal distribution, by P. J. Acklam's rational approximation (relative error below 1.2e-9).
fn quantile(probability: f64) -> f64 {
    const A: [f64; 6] = [
        -39.696_830_286_653_76,
        220.946_098_424_520_5,
        -275.928_510_446_968_7,
        138.357_751_867_269,
        -30.664_798_066_147_16,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -54.476_098_798_224_06,
        161.585_836_858_040_9,
        -155.698_979_859_886_6,
        66.801_311_887_719_72,
        -13.280_681_552_885_72,
    ];
    const C: [f64; 6] = [
        -0.007_784_894_002_430_293,
        -0.322_396_458_041_136_5,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] = [
        0.007_784_695_709_041_462,
        0.322_467_129_070_039_8,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
    ];
    let polynomial = |start: f64, coefficients: &[f64], at: f64| {
        coefficients.iter().fold(start, |value, coefficient| value * at + coefficient)
    };
    let tail = |probability: f64| {
        let q = (-2.0 * probability.ln()).sqrt();
        polynomial(0.0, &C, q) / (polynomial(0.0, &D, q) * q + 1.0)
    };
    if probability < 0.024_25 {
        tail(probability)
    } else if probability > 1.0 - 0.024_25 {
        -tail(1.0 - probability)
    } else {
        let q = probability - 0.5;
        let r = q * q;
        polynomial(0.0, &A, r) * q / (polynomial(0.0, &B, r) * r + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(table: Vec<u8>) -> Vec<f64> {
        table.chunks(2).map(|two| f64::from(i16::from_ne_bytes([two[0], two[1]])) / SCALE).collect()
    }

    #[test]
    fn the_normal_table_has_mean_0_and_deviation_1() {
        let values = values(normal());
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| value * value).sum::<f64>() / count;
        assert!(mean.abs() < 0.001, "{mean}");
        assert!((variance - 1.0).abs() < 0.005, "{variance}");
        assert!((quantile(0.975) - 1.959_963_985).abs() < 1e-6);
        assert!((quantile(0.001) + 3.090_232_306).abs() < 1e-6);
        assert!(values.windows(2).all(|two| two[0] <= two[1]));
    }

    #[test]
    fn the_uniform_table_reaches_from_minus_1_to_1() {
        let values = values(uniform());
        assert!((values[0] + 1.0).abs() < 0.001 && (values[4095] - 1.0).abs() < 0.001);
        assert!(values[2048].abs() < 0.001);
    }
}
