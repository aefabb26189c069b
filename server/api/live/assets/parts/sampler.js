// Takes frames from a playing video at the ticks of a frame rate, as JPEG.

// Smaller frames would do for many models, but people look at them too, in the view of the cameras.
const LEAST_SHORT_EDGE = 240;
const QUALITY = 0.85;
// A frame that comes this much before its tick is taken for it.
const EARLY_S = 0.002;

// `take(timeS, jpeg)` is called in the order of the frames; times are those of the video, or of the clock if it is live.
export class Sampler {
  constructor(video, { fps, shortEdge, isLive }, take) {
    this.video = video;
    this.fps = fps;
    this.shortEdge = Math.max(shortEdge, LEAST_SHORT_EDGE);
    this.isLive = isLive;
    this.take = take;
    this.firstS = null;
    this.tick = -1;
    this.canvas = document.createElement("canvas");
    this.sent = Promise.resolve();
    this.isStopped = false;
  }

  // Takes the frame that a video already shows, because the browser tells only of those that follow.
  startWithThisFrame(timeS) {
    this.restart(timeS);
    this.start();
  }

  start() {
    this.wait();
  }

  stop() {
    this.isStopped = true;
  }

  wait() {
    if (this.isStopped) return;
    if (this.video.requestVideoFrameCallback) {
      this.video.requestVideoFrameCallback((nowMs, frame) => this.frame(this.isLive ? nowMs / 1000 : frame.mediaTime));
    } else {
      requestAnimationFrame((nowMs) => this.frame(this.isLive ? nowMs / 1000 : this.video.currentTime));
    }
  }

  frame(timeS) {
    if (this.isStopped) return;
    this.firstS ??= timeS;
    const tick = Math.floor((timeS - this.firstS + EARLY_S) * this.fps);
    if (tick < this.tick) this.restart(timeS); // the video was wound back
    else if (tick > this.tick) this.capture(tick);
    this.wait();
  }

  restart(timeS) {
    this.firstS = timeS;
    this.tick = -1;
    this.capture(0);
  }

  // The time is that of the tick, so that the service takes this frame for this tick.
  capture(tick) {
    this.tick = tick;
    const timeS = this.firstS + tick / this.fps;
    const { videoWidth: width, videoHeight: height } = this.video;
    if (!width || !height) return;
    const scale = Math.min(1, this.shortEdge / Math.min(width, height));
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.canvas.getContext("2d", { alpha: false }).drawImage(this.video, 0, 0, this.canvas.width, this.canvas.height);
    const encoded = new Promise((resolve) => this.canvas.toBlob(resolve, "image/jpeg", QUALITY));
    this.sent = this.sent.then(async () => {
      const blob = await encoded;
      if (blob && !this.isStopped) this.take(timeS, blob, await blob.arrayBuffer());
    });
  }
}
