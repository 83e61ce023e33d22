"""Chromium without a window as a WebRTC far end: its own ICE, DTLS, Opus and Web Audio. It is driven by the DevTools
protocol over a pipe, so that no port is open for strangers."""

import asyncio
import itertools
import json
from asyncio.subprocess import PIPE
from pathlib import Path

import sound

# Not the script in /usr/bin, which would be ended in its place.
PROGRAM = "/usr/lib/chromium/chromium-headless-shell"
# In the page: `peer`, whose microphone says a tone, and `peaks`, the loudest frequency of what it hears, each 20 ms.
PAGE = """
const context = new AudioContext();
const voice = new OscillatorNode(context, {frequency: %d});
const microphone = new MediaStreamAudioDestinationNode(context);
voice.connect(new GainNode(context, {gain: 0.3})).connect(microphone);
voice.start();

const peer = new RTCPeerConnection();
peer.addTrack(microphone.stream.getAudioTracks()[0], microphone.stream);
const gathered = new Promise((done) => {
  peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && done();
});

const peaks = [];
peer.ontrack = ({track}) => {
  const stream = new MediaStream([track]);
  // Web Audio hears nothing of a remote track that no element plays.
  const player = new Audio();
  player.srcObject = stream;
  player.muted = true;
  player.play();
  const analyser = new AnalyserNode(context, {fftSize: 4096, smoothingTimeConstant: 0});
  new MediaStreamAudioSourceNode(context, {mediaStream: stream}).connect(analyser);
  const levels = new Float32Array(analyser.frequencyBinCount);
  setInterval(() => {
    analyser.getFloatFrequencyData(levels);
    const loudest = levels.reduce((best, level, bin) => level > levels[best] ? bin : best, 0);
    peaks.push(levels[loudest] > -50 ? loudest * context.sampleRate / analyser.fftSize : 0);
  }, 20);
};

// The offer or, after one, the answer, with all candidates.
async function description() {
  await peer.setLocalDescription();
  await gathered;
  return peer.localDescription.sdp;
}
"""


class Chromium:
    """The browser."""

    def __init__(self, stage):
        self.stage = stage
        self.numbers = itertools.count(1)
        self.asked = {}

    async def start(self):
        """Commands go in by descriptor 3 and replies come by 4, each ended by a zero."""
        assert Path(PROGRAM).exists(), f"no {PROGRAM}: tests/setup chromium-headless-shell"
        self.process = await self.stage.start(
            "chromium", "sh", "-c", 'exec 3<&0 4>&1 </dev/null >&2 && exec "$@"', "sh", PROGRAM,
            "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", f"--user-data-dir={self.stage.out}/chromium",
            "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--autoplay-policy=no-user-gesture-required", "--mute-audio",
            # Candidates with an address, though loopback is all there is and nobody has allowed a microphone.
            "--allow-loopback-in-peer-connection", "--disable-features=WebRtcHideLocalIpsWithMdns",
            stdin=PIPE, stdout=PIPE, limit=2**24,
        )  # fmt: skip
        self.listening = asyncio.create_task(self.listen())
        await self.ask("Browser.getVersion")

    def far(self):
        """A new far end."""
        return Far(self)

    async def listen(self):
        """Replies find who asked; events are of no interest."""
        try:
            while True:
                said = json.loads((await self.process.stdout.readuntil(b"\0"))[:-1])
                if "id" in said:
                    self.asked.pop(said["id"]).set_result(said)
        except asyncio.IncompleteReadError:
            for waiting in self.asked.values():
                waiting.set_exception(RuntimeError("Chromium has ended"))

    async def ask(self, method, session=None, **parameters):
        """One command."""
        number = next(self.numbers)
        command = {"id": number, "method": method, "params": parameters}
        if session:
            command["sessionId"] = session
        self.asked[number] = asyncio.get_running_loop().create_future()
        self.process.stdin.write(json.dumps(command).encode() + b"\0")
        said = await asyncio.wait_for(self.asked[number], 10)
        assert "result" in said, f"Chromium refuses {method}: {said}"
        return said["result"]


class Far:
    """One call, in a page of its own."""

    def __init__(self, browser):
        self.browser = browser
        self.session = None
        self.ear = sound.Ear(sound.PBX_HZ)

    async def open(self):
        """Loads the page."""
        target = await self.browser.ask("Target.createTarget", url="about:blank")
        self.target = target["targetId"]
        attached = await self.browser.ask("Target.attachToTarget", targetId=self.target, flatten=True)
        self.session = attached["sessionId"]
        await self.runs(PAGE % sound.USER_HZ)

    async def runs(self, script):
        """What it comes to."""
        said = await self.browser.ask(
            "Runtime.evaluate", self.session, expression=script, awaitPromise=True, returnByValue=True
        )
        failure = said.get("exceptionDetails")
        assert not failure, f"Chromium: {failure['exception']['description']}"
        return said["result"].get("value")

    async def offer(self):
        """With all candidates."""
        await self.open()
        return await self.runs("description()")

    async def accept(self, answer):
        """The bridge's answer to that."""
        await self.runs(f"peer.setRemoteDescription({json.dumps({'type': 'answer', 'sdp': answer})})")

    async def answer(self, offer):
        """To the bridge's offer."""
        await self.open()
        await self.runs(f"peer.setRemoteDescription({json.dumps({'type': 'offer', 'sdp': offer})})")
        return await self.runs("description()")

    async def check(self):
        """What was heard."""
        self.ear.frames = [abs(peak - sound.PBX_HZ) < 15 for peak in await self.runs("peaks")]
        self.ear.check()

    async def close(self):
        """Closes the page."""
        if self.session:
            await self.browser.ask("Target.closeTarget", targetId=self.target)
