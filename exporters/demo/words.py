"""What is said in the demo's chats: questions, answers and tool results of a wanted length."""

from random import Random

_QUESTIONS = (
    "Where is my order {n}? It should have arrived on Monday.",
    "I was charged twice for invoice {n}, can you check?",
    "What changed in the refund policy this year?",
    "Summarise what is known about solid-state batteries and name the sources.",
    "The login test fails since yesterday, please find out why and mend it.",
    "How do I export my data as CSV?",
    "Compare the three cheapest plans for a team of {n}.",
    "Translate the answer into Portuguese: não recebi a confirmação do pedido {n}.",
    "Which customers in region {n} grew fastest last week?",
    "Remind me what we decided about the café's opening hours.",
)
_SENTENCES = (
    "The order left the warehouse on Tuesday and is with the carrier now.",
    "According to the help page, refunds are booked within five working days.",
    "I looked at the last three invoices and found one that was charged twice.",
    "The test fails because the clock of the fixture is set to local time.",
    "Two sources agree on the date; the third gives no date at all.",
    "O pedido foi confirmado e será entregue até sexta-feira.",
    "Here is what I found, in the order of how well it is supported.",
    "Das Ergebnis weicht um 3 % vom Vorjahr ab.",
    "The figure includes tax, and it excludes shipping.",
    "If this does not help, reply with the number on the package.",
    "東京の倉庫には在庫があります。",
    "I changed one line in the parser and ran the tests again: all pass.",
    "The table below lists the regions by growth.",
    "Nothing else in the file depends on this function.",
    "Note that the price was lower before the first of the month.",
)
_VALUES = ("4711", "20388", "eu-west", "42.50", "tests/test_login.py", "refund policy", "solid-state batteries")


def question(random: Random) -> str:
    """Return something a person asks an agent."""
    return random.choice(_QUESTIONS).format(n=random.randint(2, 99_999))


def text(random: Random, shortest: int, longest: int) -> str:
    """Return prose whose length lies between two numbers of characters."""
    wanted = random.randint(shortest, longest)
    said = random.choice(_SENTENCES)
    while len(said) < wanted:
        said += ("\n\n" if random.random() < 0.15 else " ") + random.choice(_SENTENCES)
    return said[:wanted]


def value(random: Random) -> str:
    """Return the value of a tool's argument."""
    return random.choice(_VALUES)
