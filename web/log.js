// The lines that `python -m cnnx.train` prints, with its digits.

export const LOG_STEPS = 100;

// The mean as numpy computes it: blocks of at most 128 numbers have eight partial sums, and blocks are added pairwise.
export function mean(values) {
  return pairwiseSum(values, 0, values.length) / values.length;
}

function pairwiseSum(values, start, count) {
  if (count < 8) {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += values[start + i];
    return sum;
  }
  if (count > 128) {
    const half = (count >> 1) - ((count >> 1) % 8);
    return pairwiseSum(values, start, half) + pairwiseSum(values, start + half, count - half);
  }
  const r = Array.from(values.subarray(start, start + 8));
  let i = 8;
  for (; i < count - (count % 8); i += 8) for (let lane = 0; lane < 8; lane++) r[lane] += values[start + i + lane];
  let sum = r[0] + r[1] + (r[2] + r[3]) + (r[4] + r[5] + (r[6] + r[7]));
  for (; i < count; i++) sum += values[start + i];
  return sum;
}

export const progressLine = (step, loss, accuracy) =>
  `[Step ${step}] Past ${LOG_STEPS} steps: Average Loss ${loss.toFixed(3)} | Accuracy: ${Math.round(accuracy * 100)}%`;

export const epochLine = (epoch, loss, accuracy, perSecond) =>
  `Epoch ${epoch}: Loss ${loss.toFixed(4)} | Accuracy ${(accuracy * 100).toFixed(2)}% | ` +
  `${Math.round(perSecond).toLocaleString("en")} digits a second`;

// Python's way to write a float.
const float = (value) => (Number.isInteger(value) ? value.toFixed(1) : String(value));

export const testLines = (loss, accuracy) => ["--- Testing the CNN ---", `Test Loss: ${float(loss)}`, `Test Accuracy: ${float(accuracy)}`];

export const speedLine = (steps, seconds) =>
  `${steps} steps in ${seconds.toFixed(2)} s: ${((seconds / steps) * 1e6).toFixed(1)} microseconds a step, float32`;
