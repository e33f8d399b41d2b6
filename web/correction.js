// "I meant a 7": one step of gradient descent on the picture. Each step can be undone.

import { byId, percent } from "./dom.js";

const LEARN_RATE = 0.005; // the article's; it turns nine of ten wrong answers
const MOST = 5; // steps between two trainings

const INVITATION = "Is the answer wrong? Click the digit that you meant. The network takes one step to get it right.";
const TOO_MANY =
  `These were ${MOST} steps on single pictures, and more would do harm. With each of them the network forgets a little ` +
  "of all other digits; a few steps on a scribble can cost a third of them. Train it again, or undo a step.";

export class Correction {
  constructor() {
    this.forget();
  }

  // A training, or another network: there is nothing to undo any more.
  forget() {
    this.snapshots = [];
    this.say(INVITATION);
  }

  say(text) {
    byId("correction").textContent = text;
    byId("undo-correction").hidden = this.snapshots.length === 0;
  }

  // Takes a step if it may. `predict()` returns the probabilities. Returns whether the network has changed.
  step(net, image, digit, name, predict) {
    if (this.snapshots.length >= MOST) {
      this.say(TOO_MANY);
      return false;
    }
    const before = predict()[digit];
    const snapshot = net.snapshot();
    net.step(image, digit, LEARN_RATE);
    this.snapshots.push(snapshot);
    const after = predict();
    const isBest = after.indexOf(Math.max(...after)) === digit;
    const advice = isBest ? "" : " That is not enough yet. Click it again.";
    this.say(`One step: the probability of ${name} went from ${percent(before)} to ${percent(after[digit])}.${advice}`);
    return true;
  }

  // Adds what the step has done to all other digits.
  tell(before, after) {
    const share = (accuracy) => `${(accuracy * 100).toFixed(1)}%`;
    byId("correction").append(` Of the test digits it read ${share(before)} before, and reads ${share(after)} now.`);
  }

  undo(net) {
    const snapshot = this.snapshots.pop();
    if (snapshot === undefined) return;
    net.restore(snapshot);
    this.say("The step is undone. The network has the numbers that it had before.");
  }
}
