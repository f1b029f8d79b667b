"""How many, and in which order."""

from __future__ import annotations

from video_salmonn.embedded.data.asking.lines import Lines

SERIES: dict[str, Lines] = {
    "count-speakers": Lines(
        (
            "How many (people|persons|voices|speakers|different people) (speak|talk|can be heard|do you hear|are "
            "heard)( here|)?",
            "(What is|Tell me|Give) the number of (speakers|voices|people talking).",
            "(Count|Tell me how many) (the |)(voices|speakers|people who talk).",
            "How many (different |)(voices|speakers) (is it|are in it|are there in this)?",
        ),
        ("Of how many voices is this?",),
        ("In number, how many persons talk?", "How many folks do I hear speaking?", "The count of voices, please."),
    ),
    "count-people": Lines(
        (
            "How many (people|persons|faces) (are|can be seen|do you see|appear) (here|in this|in the picture|in "
            "view)?",
            "(What is|Tell me|Give) the number of (people|persons) (you see|in view|in the picture).",
            "(Count|Tell me how many) (the |)people (in the picture|you see|are shown).",
            "How many (persons|people) does (the picture|it|the video) show?",
        ),
        ("Of how many people is this a picture?",),
        ("In number, how many persons are visible?", "How many folks are in view?",
        "The count of people seen, please."),
    ),
    "count-pictures": Lines(
        (
            "How many (pictures|images|photographs|photos|different pictures|slides) (are shown|do you see|are "
            "there|come|appear)( one after another|)?",
            "(What is|Tell me|Give) the number of (pictures|images|slides).",
            "(Count|Tell me how many) (the |)(pictures|slides|images).",
            "How many (different |)(things|objects|images) (are shown|come one after another)?",
        ),
        ("Of how many pictures is this made?",),
        ("In number, how many pictures pass by?",
        "How often does the picture change into a new one, counting the first?"),
    ),
    "count-sounds": Lines(
        (
            "How many (sounds|noises|different sounds|different noises|kinds of sound) (are there|do you hear|can "
            "be heard|come|are heard)( one after another|)?",
            "(What is|Tell me|Give) the number of (different |)(sounds|noises).",
            "(Count|Tell me how many) (the |)(different |)(sounds|noises).",
        ),
        ("Of how many sounds is this made?",),
        ("In number, how many sounds follow each other?", "How many separate noises are in it?"),
    ),
    "count-digits": Lines(
        (
            "How many (digits|numbers|figures) (are said|do you hear|are spoken|does the speaker say|are there|are "
            "read out)( here|)?",
            "(What is|Tell me|Give) the number of (digits|figures) (said|spoken).",
            "(Count|Tell me how many) (the |)(digits|numbers|figures)( that are said|).",
        ),
        ("Of how many digits is it made?",),
        ("In number, how many digits are read?", "How long is the spoken number, in digits?"),
    ),
    "digits": Lines(
        (
            "(Which|What) (digits|numbers|figures) (are said|do you hear|are spoken|does the speaker say|are read "
            "out)( here|)?",
            "(Write down|Give me|Tell me|Type) the (digits|numbers|figures)( that are said| in order| you hear|).",
            "What (number|code|string of digits) is (spoken|said|read out)?",
        ),
        ("Note the digits, please.",),
        ("Which digits does the voice read?", "What code do you hear?", "Put down the numbers you hear."),
    ),
    "first-sound": Lines(
        (
            "(Which|What) (sound|noise) (is first|comes first|do you hear first|starts it|is at the start|opens the "
            "recording)?",
            "(What|Which sound) (is heard|can be heard|comes) (first|first of all|at the start|at the beginning|"
            "before the others)?",
            "With (what|which sound) does (this|the recording|it) (start|open)?",
            "(Name|Tell me) the first (sound|noise)( you hear|).",
        ),
        ("The recording opens with which sound?",),
        ("Which noise is earliest?", "Of the sounds, which one starts?", "What do I hear before anything else?"),
    ),
    "last-sound": Lines(
        (
            "(Which|What) (sound|noise) (is last|comes last|do you hear last|ends it|is at the end|closes the "
            "recording)?",
            "(What|Which sound) (is heard|can be heard|comes) (last|last of all|at the very end|after the others)?",
            "With (what|which sound) does (this|the recording|it) (finish|close)?",
            "(Name|Tell me) the last (sound|noise)( you hear|).",
        ),
        ("The recording closes with which sound?",),
        ("Which noise is latest?", "Of the sounds, which one ends it?", "What do I hear after everything else?"),
    ),
    "order-sounds": Lines(
        (
            "(In what|In which) order (are the sounds|do the sounds come|do you hear them|are the noises|do the "
            "noises come)?",
            "(List|Name|Give) (the sounds|the noises|what is heard) (in order|in turn|one after another|from the "
            "first to the last).",
            "(Which|What) (sounds|noises) (follow each other|come one after another|are heard, in order)?",
            "What (do you hear|is heard|comes), (one after the other|in order|step by step)?",
        ),
        ("What is the sequence of the sounds?",),
        ("Tell me the sounds as they come.", "How do the noises follow each other?", "First which sound, then which?"),
    ),
    "after-sound": Lines(
        (
            "(What|Which sound) (comes|is heard|follows|do you hear) (after|right after|following) {event}?",
            "(Which|What) (sound|noise) (is|comes) (after|next after|behind) {event}?",
            "What (do you hear|can be heard) (after|once) {event}( is over|)?",
            "(First {event}, then|{event}, then) (what|which sound)?",
            "{event} (comes|is heard) before (what|which sound)?",
        ),
        ("{event}, and what next?",),
        ("What sound is next, when {event} has ended?", "Which noise follows upon {event}?"),
    ),
    "before-sound": Lines(
        (
            "(What|Which sound) (comes|is heard|do you hear) (before|right before|ahead of) {event}?",
            "(Which|What) (sound|noise) (is|comes|is heard|goes) (before|ahead of|just before) {event}?",
            "What (do you hear|can be heard|was there) (before|earlier than) {event}( begins|)?",
            "(What|Which sound) (is heard|can be heard|is there) until {event} (begins|starts)?",
            "{event} (comes|is heard) after (what|which sound)?",
        ),
        ("What leads up to {event}?",),
        ("What sound is there, when {event} has not begun?", "Which noise precedes {event}?"),
    ),
    "first-picture": Lines(
        (
            "(Which|What) (picture|image|object|thing) (is first|comes first|do you see first|is shown first|is at "
            "the start)?",
            "(What|Which thing) (is seen|can be seen|comes|appears) (first|first of all|at the start|at the "
            "beginning)?",
            "With (what|which picture|which image) does (this|the video|it) (start|open)?",
            "(Which|What) (thing|object|picture) (begins|starts|opens) the (video|film|clip)?",
            "(What|Which thing) is (on screen|visible|to be seen) when the (video|film|clip) (begins|starts)?",
            "(Name|Tell me) (the first picture|what is shown first).",
        ),
        ("The video opens on what?",),
        ("Which image is earliest?", "Of the pictures, which one starts?", "What do I see before anything else?"),
    ),
    "last-picture": Lines(
        (
            "(Which|What) (picture|image|object|thing) (is last|comes last|do you see last|is shown last|is at the "
            "end)?",
            "(What|Which thing) (is seen|can be seen|comes|appears) (last|last of all|at the very end)?",
            "With (what|which picture|which image) does (this|the video|it) (finish|close)?",
            "(Which|What) (thing|object|picture) (ends|finishes|closes) the (video|film|clip)?",
            "(What|Which thing) is (on screen|visible|to be seen) when the (video|film|clip) (ends|stops)?",
            "(Name|Tell me) (the last picture|what is shown last).",
        ),
        ("The video closes on what?",),
        ("Which image is latest?", "Of the pictures, which one ends it?", "What do I see after everything else?"),
    ),
    "making": Lines(
        (
            "(Is|Could) (the thing|the object|what you see|that) (in the picture |)(making|make|cause|causing) (the "
            "sound|this noise|what you hear)?",
            "(Does|Would) (the picture|the image|what is shown) (fit|match|go with) (the sound|the noise|what is "
            "heard)?",
            "(Do|Would) (the sound|the noise) and (the picture|the image) (fit|match|belong together|agree)?",
            "(Does|Could) the (sound|noise) come from (the thing in the picture|what is shown)?",
        ),
        ("Is it the pictured thing that I hear?",),
        ("Would the thing I see sound like that?", "Is that what it sounds like?",
        "Do eyes and ears get the same thing here?"),
    ),
    "weather": Lines(
        (
            "(What|How) is the weather( like| here|), (by the sound|judging by the sound|as you hear it)?",
            "What (weather|kind of weather) (is it|do you hear|is to be heard)?",
            "How does the weather sound( here|)?",
            "What is the weather (doing|there)?",
            "(Tell me|Describe) the weather( in this|).",
            "(Which|What) weather (is in the recording|was it|does it sound like)?",
            "(What|Which weather) (is it|would you say it is) (outside|out there)?",
            "Is the weather (good or bad|dry or wet|wet or dry|bad or good)( here|)?",
            "(By|Judging by) the sound, (what|which) weather (is it|do they have)?",
        ),
        ("What weather do I hear?",),
        ("Would I need an umbrella, how's the weather?", "The weather here is what?"),
    ),
    "about-order": Lines(
        (
            "What (is|goes on) (the person doing|happening|this person after)?",
            "What (does|would) (the speaker|the person|the customer) want( here|)?",
            "(What|Which) request (is made|do you hear|is it|is heard)( here|)?",
            "(Summarise|Sum up) (what the person wants|the request|what they ask for).",
            "(What|Tell me what) (is being asked for|they ask for|the customer is after)?",
            "(Why|What for) (is the person|does the person) (speaking|speak)?",
        ),
        ("What's the request about?",),
        ("What is the customer up to?", "In short, what does this person ask?"),
    ),
}  # fmt: skip
