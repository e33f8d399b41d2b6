// The lines that `python -m cnnx.train` prints, with its digits.

import { pairwiseSum } from "./core.js";

export const LOG_STEPS = 100;

// The mean as numpy computes it.
export const mean = (values) => pairwiseSum(values) / values.length;

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
