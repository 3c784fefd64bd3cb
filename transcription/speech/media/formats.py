"""The containers and codecs that are opened; all others of FFmpeg's are refused before they are read.

Left out are those that open other files or addresses (playlists, session descriptions, redirectors), devices,
generators, pictures, subtitles, and raw data without a header, which only its file's name would tell: FFmpeg takes
text for one of these, too (adp, of games). AMR and GSM without a header stay, as telephone systems write them.
"""

_RECORDERS = (
    "mov,mp4,m4a,3gp,3g2,mj2 matroska,webm ogg mp3 wav w64 flac aac loas caf aiff au asf asf_o avi amr mpegts "
    "mpeg flv live_flv mxf mxg gxf nut nuv rm swf ivf dv dhav wtv kux pva ty lxf obu"
)
"""What phones, browsers, recorders, cameras, meeting and video programs write."""

_AUDIO = (
    "aa aax ac3 ac4 aea amrnb amrwb apac ape apc aptx aptx_hd bit bonk codec2 daud derf dfpwm dsf dss dts dtshd eac3 "
    "epaf evc g723_1 g728 g729 gsm hca hcom iamf iff ilbc ircam laf lc3 lvf mca mlp mmf mpc mpc8 nistsphere nsp oma "
    "osq paf pvf qcp qoa rka rso s337m sbc sds sdr2 sdx shn sox spdif tak truehd tta voc vqf wavarc wsd wv xwma"
)

_GAMES = (
    "3dostr 4xm acm act ads adx afc aix alp apm argo_asf argo_brp argo_cvg ast avr avs bethsoftvid bfi bfstm bink "
    "binka bmv boa brstm c93 cdxl dcstr dsicin dxa ea ea_cdata film_cpk fsb fwse gdv genh hnm idcin ipmovie "
    "iss jv kvag lmlm4 mgsts mlv mm mods moflex msf mtaf mtv musx mv mvi nc nsv pmp pp_bnk psxstr redspark rl2 roq rpl "
    "rsd scd sga siff simbiosis_imx smjpeg smk smush sol svag svs thp tiertexseq tmv usm vag vivo vividas vmd vpk wady "
    "wc3movie wsaud wsvqa wve xa xmd xmv xvag yop"
)

CONTAINERS = frozenset(f"{_RECORDERS} {_AUDIO} {_GAMES}".split())
"""FFmpeg's demuxers by name; a name with commas is one demuxer."""

WITH_TRACKS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "asf", "mxf")
"""Containers whose tracks belong to one recording; those of a broadcast (MPEG) are programmes or languages."""

_CODECS = (
    "8svx_exp 8svx_fib aac aac_fixed aac_latm ac3 ac3_fixed ac4 acelp.kelvin alac als amrnb amrwb apac ape aptx "
    "aptx_hd atrac1 atrac3 atrac3al atrac3plus atrac3plusal atrac9 binkaudio_dct binkaudio_rdft bmv_audio bonk "
    "cbd2_dpcm comfortnoise cook dca derf_dpcm dfpwm dolby_e dsd_lsbf dsd_lsbf_planar dsd_msbf dsd_msbf_planar "
    "dsicinaudio dss_sp dst dvaudio eac3 evrc fastaudio flac ftr g722 g723_1 g726 g726le g728 g729 gremlin_dpcm "
    "gsm gsm_ms hca hcom iac ilbc imc interplay_dpcm interplayacm libcodec2 libopencore_amrnb libopencore_amrwb "
    "libopus mace3 mace6 metasound misc4 mlp mp1 mp1float mp2 mp2float mp3 mp3adu mp3adufloat mp3float mp3on4 "
    "mp3on4float mpc7 mpc8 msnsiren nellymoser on2avc opus osq paf_audio qcelp qdm2 qdmc qoa ralf real_144 "
    "real_288 rka roq_dpcm s302m sbc sdx2_dpcm shorten sipr siren smackaud sol_dpcm speex tak truehd truespeech "
    "tta twinvq vmdaudio vorbis wady_dpcm wavarc wavpack wmalossless wmapro wmav1 wmav2 wmavoice ws_snd1 xan_dpcm "
    "xma1 xma2"
)

CODECS = frozenset(_CODECS.split())
CODEC_FAMILIES = ("pcm_", "adpcm_")


def is_codec_allowed(name: str) -> bool:
    return name in CODECS or name.startswith(CODEC_FAMILIES)


def allowed_codecs(available: set[str]) -> list[str]:
    """Those of the available codecs that are allowed."""
    return sorted(name for name in available if is_codec_allowed(name))
