"""What is there, seen, heard or said."""

from __future__ import annotations

from video_salmonn.embedded.data.asking.lines import Lines

PRESENCE: dict[str, Lines] = {
    "hear-x": Lines(
        (
            "(Do|Can) you hear {x}( in this clip| here| in this|)?",
            "(Can|Could) you make out {x}( here| in the recording|)?",
            "Is {x} (to be heard|audible|in the sound|heard anywhere)?",
            "Does (this|the clip|the recording|the sound) (contain|have) {x}( in it|)?",
            "Can {x} be heard( here| in the background|)?",
            "Is there {x} in (this recording|the audio|the sound)?",
            "(Would you say|Do you think) there is {x} in it?",
        ),
        ("Is {x} something you hear?", "Could this be {x}?", "I want to know if there is {x} in this."),
        ("Tell me whether you hear {x}.", "Am I hearing {x}?", "Any sign of {x} in what you hear?",
         "Do you notice {x} in the sound?", "Is that {x} I hear?", "Does it sound like {x}?"),
    ),
    "see-x": Lines(
        (
            "(Do|Can) you see {x}( in the picture| here| in it|)?",
            "Does (this|the picture|the image|the video|it) (show|contain) {x}?",
            "Is {x} (shown|visible|to be seen|in the image|in view)?",
            "Is (that|it) {x}?",
            "Can {x} be seen( here|)?",
            "Is there {x} (here|in view|in this image|to be seen)?",
            "(Would you say|Do you think) (this|it) is {x}?",
            "(Does this look like|Could this be) {x}?",
        ),
        ("Is {x} what we see?", "Would you call that {x}?", "I am looking for {x}, is it there?"),
        ("Tell me whether you see {x}.", "Am I looking at {x}?", "Does {x} appear anywhere?",
         "Do you notice {x} in the image?", "Is what you see {x}?", "Have we got {x} in this photo?"),
    ),
    "hear-sense": Lines(
        (
            "(Do|Can) you hear {x}( in this clip| here|)?",
            "Is {x} (to be heard|audible|in the sound|among the sounds)?",
            "(Listen to|Only by) the sound: is there {x}?",
            "Does the (sound|audio|sound track) (contain|have) {x}( in it|)?",
            "(Is|Would you say) the (sound|noise) (is |)that of {x}?",
            "Can {x} be heard( here|)?",
            "Is it {x} (that you hear|that is heard)?",
        ),
        ("By ear alone, is {x} there?",),
        ("Never mind the picture, do I hear {x}?", "Does it sound like {x}?", "Is {x} in the audio?"),
    ),
    "see-sense": Lines(
        (
            "(Do|Can) you see {x}( in the picture| here|)?",
            "Is {x} (to be seen|visible|in the picture|shown)?",
            "(Look at|Only by) the picture: is there {x}?",
            "Does the (picture|image|video) (contain|show) {x}?",
            "(Is|Would you say) the (picture|image) (is |)that of {x}?",
            "Can {x} be seen( here|)?",
            "Is it {x} (that you see|that is shown)?",
        ),
        ("By eye alone, is {x} there?",),
        ("Never mind the sound, do I see {x}?", "Does it look like {x}?", "Is {x} in the photo?"),
    ),
    "speech?": Lines(
        (
            "(Is|Can you hear) (anyone|anybody|a person|someone) (speaking|talking)( here| in this|)?",
            "(Do|Can) you hear (speech|a voice|words|talking|any speech)?",
            "Does (anyone|somebody|a person) (speak|talk|say something)( in this| here|)?",
            "Is (there|this) (speech|talking)( in it|)?",
            "Is (anything|something) being said( here|)?",
        ),
        ("Do people talk in it?", "Are there spoken words?", "Is it somebody's voice?"),
        ("Does any person say anything?", "Are words spoken in this recording?", "Would I hear a human voice here?",
         "Is a speaker to be heard?", "Do you recognise speech in it?"),
    ),
    "music?": Lines(
        (
            "(Is|Do you hear|Can you hear) (music|some music|any music)( here| in it| in this recording| behind it|)?",
            "Does (this|it|the clip|the recording) (have|contain) (music|a melody|a tune)?",
            "Is (a song|a melody|a tune|an instrument) (playing|being played|to be heard)?",
            "Is (this|it) music?",
        ),
        ("Would you say music is playing?", "Are instruments to be heard?", "Is there a tune in the background?"),
        ("Does someone play music?", "Do any instruments play in this?", "Has it got a soundtrack with music?",
         "Could I dance to this?", "Tell me if music is playing."),
    ),
    "silent?": Lines(
        (
            "(Is|Would you say) (this|the clip|the recording|the track|it) (silent|quiet|completely silent|without "
            "sound)?",
            "Is there (no sound|nothing to hear|silence)( here| in it|)?",
            "Is (the sound|the audio) (off|empty|mute|missing)?",
            "Can (nothing|no sound) be heard?",
        ),
        ("Is the audio track blank?", "Do I hear only silence?"),
        ("Is it true that there is nothing to hear?", "Is the clip muted?", "Was this recorded without any sound?",
         "Is it dead quiet?"),
    ),
    "sound": Lines(
        (
            "(What|Which) (noise|sound) (is it|can you hear|do you hear|is heard|comes from this)?",
            "(Name|Identify|Tell me) the (sound|noise)( in this|).",
            "What (makes|is making) (this|that|the) (sound|noise)?",
            "What (is|are) (the noise|the noises|the sounds)( here|)?",
            "What do you hear (here|in this|in the recording|in it)?",
            "What (kind|sort) of (sound|noise) is (this|that|it)?",
            "What can be heard( here|)?",
        ),
        ("Which sound do I hear?", "What am I listening to?"),
        ("What would you say makes that noise?", "Describe the noise in a few words.", "What's that sound?",
         "Can you name what is heard?", "What noise is in the recording?"),
    ),
    "picture": Lines(
        (
            "What (is|can be seen|is to be seen|is visible) (in|on) (the picture|the image|this image|this "
            "photograph)?",
            "(Name|Identify) (the object|the thing|what is shown|what you see)( in the picture|).",
            "What (thing|object) (is|do you see) (here|in the image|in the picture)?",
            "What (does|would) (the picture|this image|the photograph|this photograph) show?",
            "What (can|do) you see (here|in the image|on it)?",
            "What is (shown|pictured|depicted)( here|)?",
            "What am I looking at( here|)?",
        ),
        ("Which thing is in view?", "What have we got in this image?"),
        ("What's in the photo?", "Can you name what is pictured?", "Please say what the photo shows.",
         "What would you call the thing in this image?", "Say what you see."),
    ),
    "general": Lines(
        (
            "(Describe|Tell me about|Explain|Summarise|Summarize) (this|the clip|it|this clip|the recording)( "
            "briefly| in a few words| for me|).",
            "What (goes on|happens|is going on|is happening) (here|in it|in this clip|in the clip)?",
            "What is (this clip|this recording|it|the clip) (about|of)?",
            "(Give|Write) (a|me a) (short|brief) (description|summary)( of this| of the clip|).",
            "What (is|do we have) (in|on) (this clip|this recording|the clip)?",
        ),
        ("What is there to see and hear?", "Sum it up for me."),
        ("What's going on?", "In one line, what is this?", "Please describe the clip.", "What does this clip contain?",
         "Could you tell me what happens?"),
    ),
    "general-both": Lines(
        (
            "(Describe|Summarise|Tell me about|Sum up) (both|both the sound and the picture|sound and picture|what "
            "you hear and see)( in one sentence| briefly|).",
            "What (is|can be) (heard and seen|seen and heard)( here|)?",
            "What (do|can) you (hear and see|see and hear|both see and hear)( here|)?",
            "(In one sentence|Briefly): what is (there to see and to hear|seen and heard)?",
            "(Name|Give) (both |)what is (heard|audible) and what is (shown|visible).",
        ),
        ("Give me picture and sound in one line.",),
        ("What reaches the eyes and the ears here?", "Put the image and the audio into words.",
         "Say what there is to hear and what there is to see."),
    ),
    "transcribe": Lines(
        (
            "(What|Which words) (does|did) (the speaker|this person|he or she|the voice|the person) (say|speak)( "
            "here| in it|)?",
            "(Transcribe|Write down|Type out|Write out) (the speech|the words|what is said|what the person says|"
            "what you hear|the spoken words)( please|).",
            "(Give|Show|Write) me (the transcript|the words|the text)( of this| of the speech|).",
            "What (is|was|gets) (spoken|said) (here|in it|in this recording|in this clip)?",
            "(Put|Turn) (the speech|what is said|this) (into|to) (text|writing|words).",
            "I (need|want) (the text|a transcript|the words) (of this|of what is said).",
            "Can you (transcribe|write down) (this|it|the speech)( for me|)?",
            "What are the (spoken |)words?",
        ),
        ("Make a transcript of this, please.", "What does the recording say?"),
        ("I can't hear it, what do they say?", "Please put down every word.", "What did the person just say?",
         "Give the exact words of the speaker.", "Caption the speech."),
    ),
}  # fmt: skip
