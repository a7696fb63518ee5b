"""Openings and closings of instructions: who asks, and what for. None changes the answer's facts.

Each setting has those that suit its tasks, so that a sum is not asked for by a wedding guest.
"""

PEOPLE = (
    "I work as {a_job} in {city}.",
    "You are helping {a_job} from {city}.",
    "{name}, {a_job}, needs a hand with this.",
    "As {a_job} who is new to {city}, I would like your help.",
    "This request comes from {name} at {a_workplace}.",
    "Imagine that you advise {a_workplace} in {city}.",
    "Hello, {name} here from {a_workplace}.",
)
LESSON = (
    "You are a patient tutor and {name}, a future {job}, is your pupil.",
    "{name} and {name2} cannot agree on this at {a_workplace}.",
    "The {job} next door asked me this on {weekday}.",
    "While waiting at the {place}, {name} wondered about this.",
    "Somebody at the {place} in {city} set this puzzle.",
    "I am preparing {purpose} with {a_job}.",
    "My {relative}, {a_job}, keeps asking me this.",
)
OFFICE = (
    "Our {department} team at {a_workplace} is getting ready for {occasion}.",
    "{name} from {department} needs this before {occasion}.",
    "I look after {department} at {a_workplace}.",
    "It is {weekday} at {a_workplace} in {city} and {occasion} is close.",
    "You assist {a_job} who runs {a_workplace}.",
)
HOME = (
    "My {relative} is visiting from {city} in {month}.",
    "We moved to {city} in {month} and hardly know anybody.",
    "{name}, who loves {hobby}, asked for advice.",
    "I share a flat with {a_job} and {a_job2}.",
    "My {relative} is {a_job} with very little free time.",
)
OPENINGS = {
    "sum": LESSON,
    "fact": (*LESSON, *PEOPLE[1:4]),
    "work": (*OFFICE, *PEOPLE),
    "code": (*OFFICE[:3], *PEOPLE[:3], "I study {subject} in {city} and program as a hobby."),
    "home": (*HOME, *PEOPLE[:3]),
}

USES = (
    "It is for {purpose}.",
    "I need it by {weekday} for {purpose}.",
    "Somebody in {city} wants it for {purpose}.",
    "{name} will read it out to {audience}.",
)
WORK_USES = (
    "{name} in {department} needs it by {weekday}.",
    "We want to have it ready before {occasion}.",
    "It will be read by {audience}.",
    "Stay below {n:130-250/5} words.",
    "Our {job} will check it in {month}.",
)
SUM_USES = (
    "Show your working.",
    "Give only the result.",
    "Explain the steps to {name}, {a_job}.",
    "Show the steps, because it is for {purpose}.",
    "I need only the result, for {purpose}.",
    "{name} from {city} will check the working.",
)
CLOSINGS = {
    "sum": SUM_USES,
    "fact": USES,
    "work": WORK_USES,
    "code": ("{name} in {department} will run it on {weekday}.", *WORK_USES[1:2], *WORK_USES[4:]),
    "home": (
        "I have to tell {name} by {weekday}.",
        "{name}, {a_job}, will read it first.",
        "My {relative} suggested that I ask before {weekday}.",
        "{name} from {city} will give me an opinion in {month}.",
    ),
}
