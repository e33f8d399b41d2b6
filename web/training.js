// Trains in slices of a few milliseconds, one in each frame, so that the page stays awake and draws while it learns.

import { LOG_STEPS, epochLine, mean, progressLine, speedLine, testLines } from "./log.js";

const SLICE = 10; // milliseconds of training in a frame
const CALL = 3; // milliseconds that one call of the core may take: a slice ends at most this much late
const FIRST_CALL = 10; // steps of the first call, which tells how long a step takes
const TEST_CALL = 250; // images of the first call that tests

export const nextFrame = () => new Promise((resolve) => requestAnimationFrame(resolve));

// How many samples a call may take, from what earlier calls took.
class Pace {
  constructor(first) {
    this.first = first;
    this.samples = 0;
    this.milliseconds = 0;
  }

  next(most) {
    const wanted = this.samples === 0 ? this.first : Math.floor((CALL * this.samples) / Math.max(this.milliseconds, 0.01));
    return Math.max(1, Math.min(wanted, most));
  }

  took(samples, milliseconds) {
    this.samples += samples;
    this.milliseconds += milliseconds;
  }
}

// Runs `work()`, which takes a few milliseconds, in slices until it returns false. `onSlice()` follows each slice, and may
// wait for a frame of its own. Returns the milliseconds of work.
async function inSlices(work, onSlice) {
  let milliseconds = 0;
  for (let goesOn = true; goesOn; ) {
    await nextFrame();
    const start = performance.now();
    while (goesOn && performance.now() - start < SLICE) goesOn = work();
    milliseconds += performance.now() - start;
    await onSlice();
  }
  return milliseconds;
}

// Tests in slices: returns {loss, accuracy, predictions, losses}, or null if `isStopped()`.
export async function test(net, images, labels, isStopped = () => false, onSlice = () => {}) {
  const [count, size] = [labels.length, images.length / labels.length];
  const result = { losses: new Float64Array(count), predictions: new Uint8Array(count) };
  const pace = new Pace(TEST_CALL);
  let done = 0;
  await inSlices(() => {
    if (isStopped()) return false;
    const end = done + pace.next(count - done);
    const start = performance.now();
    const part = net.evaluate(images.subarray(done * size, end * size), labels.subarray(done, end));
    pace.took(end - done, performance.now() - start);
    result.losses.set(part.losses, done);
    result.predictions.set(part.predictions, done);
    done = end;
    return done < count;
  }, onSlice);
  if (done < count) return null;
  const right = result.predictions.reduce((sum, prediction, i) => sum + (prediction === labels[i]), 0);
  return { ...result, loss: mean(result.losses), accuracy: right / count };
}

// One training. `report` has functions: log(line), window({step, loss, accuracy, perSecond}),
// epoch(test), slice().
export class Training {
  // options: epochs, learnRate, firstEpoch (how many the network has had), hasArticlesLog.
  constructor(net, data, options, report) {
    Object.assign(this, { net, data, options, report, isStopped: false, steps: 0, milliseconds: 0 });
    this.pace = new Pace(FIRST_CALL);
  }

  stop() {
    this.isStopped = true;
  }

  // Returns the last test, or null if the training was stopped.
  async run() {
    const { log } = this.report;
    let tested = null;
    for (let epoch = 1; epoch <= this.options.epochs && !this.isStopped; epoch++) {
      await this.epoch(epoch + this.options.firstEpoch);
      const { testImages, testLabels } = this.data;
      tested = await test(this.net, testImages, testLabels, () => this.isStopped, this.report.slice);
      if (tested !== null) this.report.epoch(tested);
    }
    if (this.isStopped) return null;
    ["", ...testLines(tested.loss, tested.accuracy), speedLine(this.steps, this.milliseconds / 1000)].forEach(log);
    return tested;
  }

  async epoch(number) {
    const { labels } = this.data;
    const order = this.net.permutation(labels.length);
    const all = { losses: new Float64Array(labels.length), correct: 0 };
    const window = { correct: 0, start: 0 };
    let done = 0;
    if (this.options.hasArticlesLog) this.report.log(`--- Epoch ${number} ---`);
    const before = this.milliseconds;
    this.milliseconds += await inSlices(() => {
      const room = Math.min(window.start + LOG_STEPS, labels.length) - done;
      const steps = this.pace.next(room);
      const correct = this.call(order.subarray(done, done + steps), all.losses.subarray(done, done + steps));
      done += steps;
      this.steps += steps;
      window.correct += correct;
      all.correct += correct;
      if (steps === room) {
        this.endWindow(window, all.losses, done);
        Object.assign(window, { correct: 0, start: done });
      }
      return done < labels.length && !this.isStopped;
    }, this.report.slice);
    if (this.options.hasArticlesLog || done < labels.length) return;
    const perSecond = (done / (this.milliseconds - before)) * 1000;
    this.report.log(epochLine(number, mean(all.losses), all.correct / done, perSecond));
  }

  // Takes some steps, writes their losses, and returns how many digits were recognised.
  call(order, losses) {
    const start = performance.now();
    const { learnRate } = this.options;
    const restart = this.steps === 0;
    const result = this.net.train(this.data.images, this.data.labels, { learnRate, order, restart });
    this.pace.took(order.length, performance.now() - start);
    losses.set(result.losses);
    return result.correct;
  }

  endWindow(window, losses, done) {
    const [loss, accuracy] = [mean(losses.subarray(window.start, done)), window.correct / (done - window.start)];
    const perSecond = (this.pace.samples / this.pace.milliseconds) * 1000;
    this.report.window({ step: this.steps, loss, accuracy, perSecond });
    if (this.options.hasArticlesLog && done % LOG_STEPS === 0) this.report.log(progressLine(done, loss, accuracy));
  }
}
