"""Tasks about sounds, alone and with pictures: captions, sources, matching, what is heard when."""

from __future__ import annotations

import itertools

from video_salmonn.embedded.data.wordings import FITS, SOUND_PHRASES, named
from video_salmonn.embedded.save_mini.builder import Builder
from video_salmonn.embedded.save_mini.render import in_a_row, read_picture, read_sound, write_sound, write_video

SECONDS = 4.0
"""Length of one sound in composed clips."""


def audiocaps(build: Builder) -> int:
    """20 single sounds and 20 pairs, with five captions each."""
    rows, number = [], itertools.count(1)
    n = build.many(20)
    sounds = build.sounds(3 * n)
    groups = [[sound] for sound in sounds[:n]] + [list(p) for p in zip(sounds[n : 2 * n], reversed(sounds[2 * n :]))]
    for place, group in enumerate(groups):
        clip = f"mini{place:07d}"
        write_sound(
            build.folder / f"{clip}.flac", in_a_row([read_sound(build.use(s), SECONDS) for s in group], SECONDS)
        )
        names = [SOUND_PHRASES[s.label] for s in group]
        rows += [(str(next(number)), clip, "0", caption) for caption in _captions(names)]
    build.write_csv("test.csv", ("audiocap_id", "youtube_id", "start_time", "caption"), rows)
    return len(groups)


def _captions(names: list[str]) -> list[str]:
    first = names[0]
    if len(names) == 1:
        told = ["{}", "{} can be heard", "The sound of {}", "There is {}", "A recording of {}"]
        return [text.format(first) for text in told]
    then = names[1]
    told = [
        "{} and then {}",
        "{} followed by {}",
        "First {}, then {}",
        "{}, then {} can be heard",
        "The sounds of {} and {}",
    ]
    return [text.format(first, then) for text in told]


def avssd(build: Builder) -> int:
    """30 clips: a photograph and a sound that need not fit it."""
    items = []
    for number, (sound, photo) in enumerate(zip(build.sounds(build.many(30)), build.photos())):
        name = f"mini_{number:06d}"
        samples = read_sound(build.use(sound), SECONDS)
        write_video(build.folder / f"{name}.mp4", [read_picture(build.use(photo))], SECONDS, samples)
        write_sound(build.folder / f"{name}.flac", samples)
        answer = f"The source of this sound in this scene is {SOUND_PHRASES[sound.label]}."
        question = "What is the source of the sound?"
        items.append({"image": [f"{name}.mp4", f"{name}.wav"], "question": question, "answer": answer})
    return build.write_json("testdata_formatted.json", items)


def avm(build: Builder) -> int:
    """Two parts: talking heads with their own sound or another (20), photographs with a fitting sound or not (16)."""
    items = []
    talks = [s for s in build.of("talk", collection="grid:") if s.path.endswith(".mp4")]
    talks = build.random.sample(talks, min(build.many(20), len(talks)))
    for number, (talk, other) in enumerate(zip(talks, build.sounds(20))):
        name, fits = f"talk_{number:06d}", number % 2 == 0
        clip = build.copy(talk, name)
        samples = read_sound(clip) if fits else read_sound(build.use(other), 3.0)
        text = talk.text if fits else SOUND_PHRASES[other.label]
        write_sound(build.folder / f"{name}.flac", samples)
        items.append(_match([clip.name, f"{name}.wav"], "Is the audio compatible with the video?", fits, text))
    things = {photo.id: photo for photo in build.of("photo")}
    pairs = [(p, s) for s in build.sounds(80) for p in things.values() if p.label in FITS.get(s.label, ())]
    pairs = build.random.sample(pairs, min(build.many(8), len(pairs)))
    heard = [sound for _, sound in pairs]
    for number, (photo, sound) in enumerate(pairs):
        # Both halves have the same pictures and the same sounds, so neither alone gives the answer away.
        wrong = next((s for s in heard[number + 1 :] + heard if photo.label not in FITS[s.label]), None)
        for fits, played in ((True, sound), (False, wrong)):
            if played is None:
                continue
            name = f"thing_{number:06d}_{'y' if fits else 'n'}"
            image = build.copy(photo, name)
            write_sound(build.folder / f"{name}.flac", read_sound(build.use(played), SECONDS))
            question = "Is the audio related to the image?"
            items.append(_match([image.name, f"{name}.wav"], question, fits, SOUND_PHRASES[played.label]))
    return build.write_json("audiovisualmatching_combined.json", items)


def _match(media: list[str], question: str, fits: bool, text: str) -> dict[str, object]:
    return {"image": media, "question": question, "answer": "Yes" if fits else "No", "text": text}


def ego4d_qa(build: Builder) -> int:
    """25 clips of two scenes with a sound each: what is heard while a thing is shown?"""
    items = []
    sounds, photos = build.sounds(50), build.photos()
    labels = sorted(SOUND_PHRASES)
    for number in range(min(build.many(25), len(sounds) // 2)):
        first = sounds[2 * number]
        second = next(s for s in sounds[2 * number + 1 :] + sounds if s.label != first.label)
        one = photos[2 * number % len(photos)]
        two = next(p for p in photos[(2 * number + 1) % len(photos) :] + photos if p.label != one.label)
        samples = in_a_row([read_sound(build.use(s), SECONDS) for s in (first, second)], SECONDS)
        name = f"mini-{number:04d}__0"
        slides = [read_picture(build.use(photo)) for photo in (one, two)]
        write_video(build.folder / f"{name}.mp4", slides, SECONDS, samples)
        write_sound(build.folder / f"{name}.flac", samples)
        asked, answer = ((one, first), (two, second))[number % 2]
        rest = [label for label in labels if label not in (first.label, second.label)]
        shown = build.random.sample([first.label, second.label, *build.random.sample(rest, 3)], 5)
        items.append(
            {
                "image_name": [f"{name}.mp4", f"{name}.wav"],
                "answer_candidates": [SOUND_PHRASES[label] for label in shown],
                "answer": SOUND_PHRASES[answer.label],
                "question": f"What is heard while {named(asked.label)} is shown?",
                "duration": [0.0, 2 * SECONDS],
            }
        )
    return build.write_json("ego4d_qa.json", items)


def music_avqa(build: Builder) -> int:
    """20 questions about clips of one to three sounds: how many, and is one of them there?"""
    items = []
    sounds, photos = build.sounds(80), build.photos()
    labels = sorted(SOUND_PHRASES)
    for number in range(build.many(20)):
        count = 1 + number % 3
        heard = {s.label: s for s in sounds[3 * number : 3 * number + 3]}
        events = list(heard.values())[:count]
        samples = in_a_row([read_sound(build.use(s), 3.0) for s in events], 3.0)
        video = f"{number:08d}"
        write_video(
            build.folder / f"{video}.mp4", [read_picture(build.use(photos[number]))], 3.0 * len(events), samples
        )
        entry = {"video_id": video, "question_id": number, "question_deleted": 0}
        if number % 2:
            there = number % 4 == 1
            absent = [label for label in labels if label not in {s.label for s in events}]
            asked = events[0].label if there else build.random.choice(absent)
            entry |= {
                "type": '["Audio", "Existential"]',
                "question_content": "Is the sound of <Object> heard?",
                "templ_values": f'["{SOUND_PHRASES[asked]}"]',
                "anser": "yes" if there else "no",
            }
        else:
            entry |= {
                "type": '["Audio", "Counting"]',
                "question_content": "How many different sounds are heard throughout the video?",
                "templ_values": "[]",
                "anser": ("one", "two", "three")[len(events) - 1],
            }
        items.append(entry)
    return build.write_json("avqa-test.json", items)
