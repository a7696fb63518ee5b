"""Letters, plans, dialogues, recipes, advertisements and verse, put together from set pieces.

Answers are short and plain: sentences that are true for any filling of their slots.
"""

from __future__ import annotations

from random import Random

from pipeline.teacher.offline.family import Family
from pipeline.teacher.offline.phrasing import Slots
from pipeline.teacher.offline.words import pool, sentence, with_article


def _some(lines: tuple[str, ...], count: int, slots: Slots, rng: Random) -> list[str]:
    return [line.format(**slots) for line in rng.sample(lines, count)]


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _thanks(slots: Slots, rng: Random) -> tuple[str, str]:
    middle = _some(
        (
            "I was touched that you remembered what I like.",
            "It has already found its place in my living room.",
            "You could not have chosen anything better.",
            "I think of you whenever I see it.",
            "Everybody who visits asks where it came from.",
        ),
        2,
        slots,
        rng,
    )
    text = f"Dear {slots['name']},\n\nThank you so much for {slots['gift']}. {' '.join(middle)}"
    return "", f"{text}\n\nWith warm wishes"


def _complaint(slots: Slots, rng: Random) -> tuple[str, str]:
    wish = rng.choice(("a replacement", "a refund", "a repair free of charge"))
    return "", (
        f"Dear Sir or Madam,\n\nI bought {slots['a_product']} from you, and I am writing because "
        f"of {slots['defect']}. I have kept the receipt and would like {wish}. Please let me know "
        "within ten days how you will proceed.\n\nYours faithfully"
    )


def _reply(slots: Slots, rng: Random) -> tuple[str, str]:
    offer = rng.choice(("send a replacement today", "return your money", "repair it for nothing"))
    return "", (
        f"Dear {slots['name']},\n\nThank you for telling us about {slots['problem']}. I am sorry "
        f"for the trouble. We will {offer}, and you need not pay anything. If there is more that "
        "I can do, simply answer this message.\n\nKind regards\nCustomer service"
    )


def _invitation(slots: Slots, rng: Random) -> tuple[str, str]:
    hour = rng.randint(10, 20)
    return "", (
        f"You are invited to {slots['event']} in {slots['city']} on {slots['weekday']}, "
        f"{slots['d']} {slots['month']}, at {hour}:00. Please tell us by the day before whether "
        "you are coming, and whether there is anything that you do not eat. We look forward to "
        "seeing you!"
    )


def _leave(slots: Slots, _: Random) -> tuple[str, str]:
    return "", (
        f"Dear {slots['name']},\n\nI would like to ask for {slots['n']} days of leave in "
        f"{slots['month']} because of {slots['event']}. My tasks will be up to date before I go, "
        "and a colleague has agreed to stand in for me.\n\nBest regards"
    )


def _trip(slots: Slots, rng: Random) -> tuple[str, str]:
    lines = []
    places = rng.sample(pool("place"), 2 * int(slots["n"]))
    for day in range(int(slots["n"])):
        first, second = places[2 * day : 2 * day + 2]
        lines.append(
            f"Day {day + 1}: in the morning look for {_a(first)}, in the afternoon {_a(second)}."
        )
    lines.append(f"Keep one evening free for {slots['hobby']}, and check opening hours first.")
    return "", "\n".join(lines)


def _a(noun: str) -> str:
    return f"the {noun}" if noun.endswith("s") else with_article(noun)


WEEKS = (
    "learn the basic terms and the safety rules",
    "practise one small exercise a day for twenty minutes",
    "copy something simple that an expert made",
    "ask somebody experienced to watch and comment",
    "repeat what went wrong, slowly",
    "finish a small project of your own",
    "test yourself without looking anything up",
    "teach a friend what you know",
)


def _study(slots: Slots, _: Random) -> tuple[str, str]:
    weeks = WEEKS[: int(slots["n"])]
    lines = [f"Week {index}: {step}." for index, step in enumerate(weeks, 1)]
    return "", "\n".join([f"A plan for {slots['skill']}:", *lines])


def _packing(slots: Slots, rng: Random) -> tuple[str, str]:
    lines = (
        "a valid ticket and an identity card",
        "a charged phone with its charger",
        "a refillable bottle of water",
        "a rain jacket and a warm layer",
        "comfortable shoes",
        "a small first aid kit",
        "some cash and a bank card",
        "snacks for the way",
        "the address of the lodging on paper",
    )
    return "", _bullets(_some(lines, int(slots["n"]), {}, rng))


def _agenda(slots: Slots, _: Random) -> tuple[str, str]:
    minutes = int(slots["n"])
    parts = ("Welcome and goals", "Where we stand", "Open questions", "Who does what by when")
    share = minutes // 5
    lengths = (share // 2, share, minutes - share // 2 - 2 * share, share)
    lines = [f"{part} ({length} min)" for part, length in zip(parts, lengths, strict=True)]
    return "", "\n".join(f"{index}. {line}" for index, line in enumerate(lines, 1))


def _interview(slots: Slots, rng: Random) -> tuple[str, str]:
    lines = (
        "What drew you to this work?",
        "Which task of a normal day do you like least, and how do you handle it?",
        "Tell us about a mistake and what you changed afterwards.",
        "How do you decide what comes first when everything is urgent?",
        "When did you last explain something difficult to a beginner?",
        "What would your former colleagues say about you?",
        "Which skill do you want to learn in the next year?",
        "What do you need from us to do good work?",
    )
    chosen = _some(lines, int(slots["n"]), {}, rng)
    return "", "\n".join(f"{index}. {line}" for index, line in enumerate(chosen, 1))


def _call(slots: Slots, rng: Random) -> tuple[str, str]:
    first, second = rng.sample(("Monday", "Tuesday", "Thursday", "Friday"), 2)
    hour = rng.randint(9, 16)
    return "", (
        f"Receptionist: Good morning, how can I help?\n"
        f"{slots['name']}: I would like to change my appointment. {first} does not suit me.\n"
        f"Receptionist: We have {second} at {hour}:00. Would that work?\n"
        f"{slots['name']}: Yes, {second} at {hour}:00 is fine. Thank you!\n"
        "Receptionist: You are welcome. Goodbye."
    )


def _recipe(slots: Slots, rng: Random) -> tuple[str, str]:
    minutes = rng.randrange(20, 50, 5)
    return "", (
        f"1. Lay out all ingredients for {slots['dish']} and wash the vegetables.\n"
        "2. Cut everything into pieces of the same size, so that it cooks evenly.\n"
        "3. Start with what takes longest, and season lightly.\n"
        f"4. Cook it through; allow about {minutes} minutes, and test it before you stop.\n"
        "5. Taste, adjust the salt, and serve it while fresh."
    )


def _product(slots: Slots, rng: Random) -> tuple[str, str]:
    praise = _some(
        (
            "It is easy to clean and made to last.",
            "It takes up little room and comes ready for use.",
            "Every part can be replaced, so that you keep it for years.",
            "It comes in three colours and with a two-year guarantee.",
        ),
        2,
        slots,
        rng,
    )
    first = f"This {slots['a_product'].split(' ', 1)[1]} is made for {slots['audience']}."
    return "", f"{first} {' '.join(praise)}"


def _pros(slots: Slots, rng: Random) -> tuple[str, str]:
    pros = _some(
        (
            "it brings people together",
            "it keeps the mind busy",
            "it can be started with little",
            "progress shows soon",
            "it gives the week a rhythm",
        ),
        2,
        slots,
        rng,
    )
    cons = _some(
        (
            "it takes time that is then missing elsewhere",
            "good equipment can cost a lot",
            "the first months can be frustrating",
            "it depends on place or season",
        ),
        2,
        slots,
        rng,
    )
    return "", f"For {slots['hobby']}:\n{_bullets(pros)}\nAgainst it:\n{_bullets(cons)}"


HAIKU = (
    ("Rain on the window", "Early morning light", "A cold wind at dusk", "Bells across the roofs",
     "Fog above the fields", "One leaf on the stairs"),
    ("nobody answers the door", "the old boat leaves the harbour", "the baker sweeps the pavement",
     "a child counts the passing trains", "two crows share a piece of bread"),
    ("the kettle still sings", "one lamp keeps burning", "footsteps in the snow",
     "the clock strikes seven", "and the tea grows cold"),
)  # fmt: skip


def _haiku(slots: Slots, rng: Random) -> tuple[str, str]:
    first = rng.choice(HAIKU[0])
    second = rng.choice(HAIKU[1])
    third = rng.choice(
        ("the kettle still sings", "one lamp keeps burning", "footsteps in the snow")
    )
    return "", f"{first},\n{second} -\n{third}."


def _story(slots: Slots, rng: Random) -> tuple[str, str]:
    turn = rng.choice(
        (
            "and for once nobody had told a joke about it",
            "although the letter had said the opposite",
            "and the key in the pocket no longer fitted anything",
        )
    )
    return "", (
        f"The {slots['a_thing'].split(' ', 1)[1]} had been lying in the {slots['room']} for three "
        "days when "
        f"{slots['name']} finally picked it up, {turn}. It was warm. Outside, {slots['city']} went "
        "about its business as if nothing had changed."
    )


def _slogan(slots: Slots, rng: Random) -> tuple[str, str]:
    line = rng.choice(
        (
            "{w}: good work, every day.",
            "Your {w}. Close by, close to you.",
            "{w}: come in, feel welcome.",
            "The {w} that takes its time for you.",
        )
    )
    return "", sentence(line.format(w=slots["a_workplace"].split(" ", 1)[1]))


def _appeal(slots: Slots, _: Random) -> tuple[str, str]:
    return "", (
        f"Dear neighbours,\n\non {slots['weekday']} we hold {slots['event']} in aid of "
        f"{slots['charity']}. Every euro goes to the cause, and helping hands are as welcome as "
        "money. Bring a friend, and tell us if you can lend a table or an hour of your time.\n\n"
        "Thank you!"
    )


def _advert(slots: Slots, _: Random) -> tuple[str, str]:
    return "", (
        f"We are looking for {slots['a_job']} in {slots['city']}. You are {slots['trait']} and "
        "enjoy working in a team. We offer fair pay, a permanent contract and time to learn. "
        "Send us a short letter; a degree is no condition."
    )


FAMILIES = (
    Family("thank_you", "letters", "home", _thanks),
    Family("complaint", "letters", "home", _complaint),
    Family("service_reply", "customer service", "work", _reply),
    Family("invitation", "letters", "home", _invitation),
    Family("leave_request", "letters", "home", _leave),
    Family("itinerary", "travel", "home", _trip),
    Family("study_plan", "planning", "home", _study),
    Family("packing_list", "travel", "home", _packing),
    Family("agenda", "meetings", "work", _agenda),
    Family("interview_questions", "hiring", "work", _interview),
    Family("phone_call", "dialogue", "work", _call),
    Family("recipe", "cooking", "home", _recipe),
    Family("product_text", "advertising", "work", _product),
    Family("pros_and_cons", "advice", "home", _pros),
    Family("haiku", "poetry", "home", _haiku),
    Family("story_opening", "fiction", "home", _story),
    Family("slogan", "advertising", "work", _slogan),
    Family("appeal", "volunteering", "work", _appeal),
    Family("job_advert", "hiring", "work", _advert),
)
