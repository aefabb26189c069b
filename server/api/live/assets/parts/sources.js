// What can be tried: a chosen video, the camera of this device, or a motion that was rendered.
const BASE = new URL("../motions/", import.meta.url);

// Each was rendered by the code that made the training data of the demo.
export const MOTIONS = [
  { file: "up.webm", label: "Moving something up" },
  { file: "right.webm", label: "Pushing something from left to right" },
  { file: "closer.webm", label: "Approaching something with your camera" },
];

const NO_CAMERA =
  "Browsers give a camera only to pages at localhost or over HTTPS, and this page is neither. Open it at"
  + " http://localhost on the machine of the service, or put the service behind HTTPS.";
const CANNOT_PLAY =
  "This browser cannot play the file. H.264, VP9 and AV1 work in most browsers, H.265 (HEVC) in few. To convert it:"
  + " ffmpeg -i FILE -c:v libx264 -an out.mp4";
const REFUSALS = {
  NotAllowedError: "The browser did not allow the camera. Allow it in the bar of the address, then try again.",
  NotFoundError: "This device has no camera.",
  NotReadableError: "The camera is in use by another program.",
};

export async function playFile(video, file) {
  const url = URL.createObjectURL(file);
  return { ...(await play(video, url)), name: file.name, isLive: false, release: () => URL.revokeObjectURL(url) };
}

export async function playMotion(video, motion) {
  const source = await play(video, new URL(motion.file, BASE).href);
  return { ...source, name: "rendered motion", isLive: false, expected: motion.label, release() {} };
}

export async function playCamera(video) {
  if (!navigator.mediaDevices?.getUserMedia) throw new Error(NO_CAMERA);
  const asked = { video: { width: { ideal: 640 }, height: { ideal: 480 } }, audio: false };
  const stream = await navigator.mediaDevices.getUserMedia(asked).catch((error) => {
    throw new Error(REFUSALS[error.name] ?? `The camera cannot be used: ${error.message}`);
  });
  video.srcObject = stream;
  await video.play();
  return { name: "camera of this device", isLive: true, release: () => stream.getTracks().forEach((track) => track.stop()) };
}

// Waits for the size and the length, and stays at the first frame.
function play(video, url) {
  video.srcObject = null;
  video.src = url;
  return new Promise((resolve, reject) => {
    video.onloadeddata = () => (video.videoWidth ? resolve({}) : reject(new Error(CANNOT_PLAY)));
    video.onerror = () => reject(new Error(CANNOT_PLAY));
  });
}
