# ruff: noqa: E501  # texts of other programs
"""Files that name other files and addresses."""

import struct

from tests.hostile.base import HostileFile, of
from tests.hostile.mp4 import box

SECRET = "/etc/passwd"
NOBODY = "http://127.0.0.1:1"


def playlists() -> list[HostileFile]:
    """Each names a file of the system or an address; none may be opened for it."""
    targets = {
        "a file": f"file://{SECRET}",
        "a path": SECRET,
        "a path upwards": f"../../../../..{SECRET}",
        "an address": f"{NOBODY}/a.ts",
    }
    texts = {
        "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{0}\n#EXT-X-ENDLIST\n",
        "key.m3u8": '#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXT-X-KEY:METHOD=AES-128,URI="{0}"\n#EXTINF:10,\na.ts\n#EXT-X-ENDLIST\n',
        "map.m3u8": '#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXT-X-MAP:URI="{0}"\n#EXTINF:10,\na.ts\n#EXT-X-ENDLIST\n',
        "media.m3u8": '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="{0}"\n#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a"\n{0}\n',
        "m3u": "#EXTM3U\n#EXTINF:1,a\n{0}\n",
        "pls": "[playlist]\nNumberOfEntries=1\nFile1={0}\n",
        "ffconcat": "ffconcat version 1.0\nfile '{0}'\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\na=control:{0}\nm=audio 1 RTP/AVP 0\n",
        "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet mimeType="audio/mp4"><Representation id="1" bandwidth="1"><BaseURL>{0}</BaseURL></Representation></AdaptationSet></Period></MPD>',
        "xspf": '<?xml version="1.0"?><playlist xmlns="http://xspf.org/ns/0/"><trackList><track><location>{0}</location></track></trackList></playlist>',
        "asx": '<asx version="3.0"><entry><ref href="{0}"/></entry></asx>',
        "smil": '<smil><body><audio src="{0}"/></body></smil>',
        "cue": 'FILE "{0}" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
        "redirect.wmv": "[Reference]\nRef1={0}\n",
        "ffmetadata": ";FFMETADATA1\ntitle={0}\n",
        "avs": 'AviSource("{0}")\n',
        "svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{0}"/></svg>',
        "imf.xml": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"><Id>{0}</Id></CompositionPlaylist>',
    }
    named = [
        of(f"{kind} of {what}.{kind.rpartition('.')[2]}", text.format(target).encode())
        for kind, text in texts.items()
        for what, target in targets.items()
    ]
    reference = box(
        b"rdrf", bytes(4), b"url ", struct.pack(">I", len(SECRET) + 1), SECRET.encode(), b"\x00"
    )
    return [
        *named,
        of("a movie elsewhere.mov", box(b"moov", box(b"rmra", box(b"rmda", reference)))),
    ]
