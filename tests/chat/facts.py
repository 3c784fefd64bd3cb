"""A generated three-hour meeting that contains a hundred facts, each said once.

Each fact has a question as people ask it: about half use other forms of the words ("Who is moving …?" for "moved"),
a third are follow-up questions that make sense only with the messages before them.
"""

import random
from dataclasses import dataclass

from chat.llm.base import Message, Passage, Transcript

N_PASSAGES = 2_500
DURATION = 10_800.0


@dataclass(frozen=True)
class Fact:
    said: str
    asked: str
    before: tuple[str, ...] = ()
    """The messages before, alternately of user and assistant, the user's first."""

    def messages(self) -> tuple[Message, ...]:
        texts = [*self.before, self.asked]
        return tuple(
            Message("assistant" if n % 2 else "user", text) for n, text in enumerate(texts)
        )


NOT_HERE = "The passages that I can see do not say that."
FACTS = (
    # In other forms of the words.
    Fact("Helena moved the archive to the basement in Rotterdam.", "Who is moving the archives?"),
    Fact(
        "The auditors rejected our travel receipts from April.",
        "Why would an auditor reject a receipt?",
    ),
    Fact(
        "We hired two welders from Gdansk last Friday.",
        "Where did the welder we are hiring come from?",
    ),
    Fact(
        "Priya translated the safety manual into Tamil.",
        "Who did the translation of the manuals for safety?",
    ),
    Fact(
        "The boiler exploded because nobody had cleaned the valves.",
        "What explosion was there with the boilers?",
    ),
    Fact(
        "I cancelled the subscription for the weather satellite feed.",
        "Who cancels subscriptions to satellites?",
    ),
    Fact(
        "Marcus borrowed the projector and never returned it.", "Is somebody borrowing projectors?"
    ),
    Fact(
        "The mayor promised to widen the bridge before winter.",
        "What promises did the mayor make about bridges?",
    ),
    Fact(
        "Our lawyers are suing the landlord over the leaking roof.",
        "Did a lawyer sue the landlords?",
    ),
    Fact(
        "The bakery in Tallinn delivers eighteen pallets of flour.",
        "How many pallets do bakeries deliver?",
    ),
    Fact(
        "Olga negotiated a discount of twelve percent with the printer.",
        "What discounts were we negotiating?",
    ),
    Fact(
        "The parrots in the lobby frightened a visitor from Norway.",
        "Was a parrot frightening visitors?",
    ),
    Fact(
        "We painted the corridor turquoise by mistake.",
        "Which colour are they painting the corridors?",
    ),
    Fact(
        "The warranty on the forklifts expires on the ninth of June.",
        "When is a forklift's warranty expiring?",
    ),
    Fact("Dmitri repaired the elevator with a borrowed gearbox.", "Who can repair elevators?"),
    Fact(
        "The insurance refused to pay for the flooded cellar.",
        "Is insurance refusing floods in cellars?",
    ),
    Fact(
        "We photographed every sculpture before the renovation.",
        "What were the photographs of sculptures for?",
    ),
    Fact(
        "Leila proposed that interns should get a bicycle.",
        "What proposal was there for an intern?",
    ),
    Fact(
        "The glacier expedition was postponed until September.",
        "Who is postponing expeditions to the glaciers?",
    ),
    Fact(
        "Customs confiscated the samples of cinnamon in Antwerp.",
        "Which sample did customs confiscate?",
    ),
    Fact(
        "The orchestra rehearses in our canteen on Wednesdays.",
        "Where is the rehearsing of the orchestras?",
    ),
    Fact(
        "Somebody stole the copper cables from the tram depot.", "Was there any stealing of cable?"
    ),
    Fact(
        "The dentist vaccinated the whole night shift against flu.",
        "Who got vaccinations from the dentists?",
    ),
    Fact("Fatima resigned as treasurer of the pension fund.", "Which treasurers are resigning?"),
    Fact(
        "The drones mapped the vineyard in forty minutes.",
        "How long does one drone need for mapping vineyards?",
    ),
    Fact("We exported nine hundred violins to Korea.", "How many violin exports went abroad?"),
    Fact("The plumber discovered mushrooms behind the sink.", "What was discovered by plumbers?"),
    Fact(
        "Zoltan apologized to the florist for the broken vases.",
        "Why is there an apology for a vase?",
    ),
    Fact(
        "The tenants complained about the smell of varnish.", "What is the tenant complaining of?"
    ),
    Fact(
        "Our submarine sensors survived a depth of six kilometres.",
        "What does a submarine's sensor survive?",
    ),
    Fact(
        "The choir collected money for a new ambulance.",
        "What does the choirs' collection pay, ambulances?",
    ),
    Fact(
        "Ingrid upgraded the telescopes with infrared lenses.", "Who does upgrades of a telescope?"
    ),
    Fact(
        "The beekeepers demanded compensation for the pesticides.",
        "What demand does the beekeeper have?",
    ),
    # As follow-ups, in other forms.
    Fact(
        "The lighthouse was sold to a couple from Edinburgh.",
        "And who were they?",
        ("Did somebody buy lighthouses?", NOT_HERE),
    ),
    Fact(
        "The caterer poisoned half the accounting team with oysters.",
        "What made them ill?",
        ("Tell me about the caterers.", "The caterer was discussed several times."),
    ),
    Fact(
        "Nadia designed the logo on a napkin in Marseille.",
        "And where was that?",
        ("Who is designing logos?", "Nadia did."),
    ),
    Fact(
        "The volcano closed the airport for thirteen days.",
        "How long was it?",
        ("What did they say about volcanoes and airports?", "It was closed for some time."),
    ),
    Fact(
        "We tested the parachutes over a lake near Zurich.",
        "Where did that happen?",
        ("Were there tests of a parachute?", "Yes, it was tested."),
    ),
    Fact(
        "The museum lent us a mammoth tusk for the exhibition.",
        "Who did it come from?",
        ("What is with the mammoths and their tusks?", "There is one."),
    ),
    Fact(
        "The gardener planted three hundred tulips behind the gate.",
        "How many of them?",
        ("What are the gardeners planting?", "They are flowers."),
    ),
    Fact(
        "The ferry collided with a pontoon in the fog.",
        "And why?",
        ("Has a collision of ferries been mentioned?", "It has."),
    ),
    Fact(
        "Grandfather clocks are repaired by a monk in Salzburg.",
        "By whom?",
        ("Is there anybody repairing a grandfather clock?", NOT_HERE),
    ),
    Fact(
        "The wind turbines froze during the night of the gala.",
        "When was that exactly?",
        ("Which turbine is freezing?", "Those on the hill are."),
    ),
    Fact(
        "Beatriz inherited a marble quarry from her aunt.",
        "From whom?",
        ("Has someone inherited quarries?", "Beatriz has."),
    ),
    Fact(
        "The thermometer in the greenhouse showed fifty-one degrees.",
        "How hot did it get then?",
        ("Tell me about thermometers in greenhouses.", "There is one."),
    ),
    Fact(
        "The pilots went on strike over their uniforms.",
        "What for?",
        ("Is the pilot striking?", "They are."),
    ),
    Fact(
        "The sailors mutinied because of the soup.",
        "And the reason?",
        ("Was there a sailor in a mutiny?", "There was."),
    ),
    Fact(
        "Casimir encrypted the payroll with his daughter's birthday.",
        "What did he use for it?",
        ("Who was encrypting payrolls?", "Casimir was."),
    ),
    Fact(
        "The reindeer crossing delayed the freight train by five hours.",
        "By how much?",
        ("Why were freight trains delayed?", "Animals were in the way."),
    ),
    # In the words that were said.
    Fact(
        "The password of the vending machine is pineapple.",
        "What is the password of the vending machine?",
    ),
    Fact(
        "Building seven has no sprinklers on the upper floor.", "Which building has no sprinklers?"
    ),
    Fact(
        "The contract with Nordwind ends on 31 October.",
        "When does the contract with Nordwind end?",
    ),
    Fact(
        "Our patent on the folding kayak was granted in Brazil.",
        "Where was the patent on the kayak granted?",
    ),
    Fact(
        "The invoice from Castellano is 48,200 euros.", "How much is the invoice from Castellano?"
    ),
    Fact("Room 414 will become a nursery.", "What will become of room 414?"),
    Fact("Yusuf keeps the spare keys under the cactus.", "Where are the spare keys, at a cactus?"),
    Fact(
        "The prototype weighs 17 kilograms without the battery.",
        "How many kilograms does the prototype weigh?",
    ),
    Fact("The new slogan is quiet power for loud cities.", "What is the new slogan?"),
    Fact("The chlorine level in the pool was 3.7.", "What was the chlorine level in the pool?"),
    Fact(
        "The Lisbon office will be closed for Carnival.", "When will the Lisbon office be closed?"
    ),
    Fact("The donkey for the nativity play is called Figaro.", "What is the donkey called?"),
    Fact("Theresa owes the coffee fund 62 crowns.", "How much does Theresa owe the coffee fund?"),
    Fact(
        "The tunnel under the river will cost 2.4 billion.",
        "What will the tunnel under the river cost?",
    ),
    Fact("Flight LX 1843 lands at a quarter past six.", "When does flight LX 1843 land?"),
    Fact("The emergency exit is blocked by a piano.", "What is the emergency exit blocked by?"),
    Fact(
        "The court in The Hague meets in camera on Thursday.",
        "When does the court in The Hague meet?",
    ),
    Fact("Serum B12 must be kept below four degrees.", "How cold must serum B12 be kept?"),
    Fact(
        "The jury disqualified the team with the catapult.", "Which team did the jury disqualify?"
    ),
    Fact(
        "The river Drava rose by 90 centimetres overnight.",
        "By how many centimetres did the Drava rise?",
    ),
    Fact("The violinist wants her fee in Swiss francs.", "How does the violinist want her fee?"),
    Fact("The penguins arrive on a refrigerated truck from Bremen.", "How do the penguins arrive?"),
    Fact("The bronze statue goes to Doctor Okonkwo.", "Who gets the bronze statue?"),
    Fact("The quorum for the assembly is 134 members.", "How many members is the quorum?"),
    Fact(
        "Minus eleven volts on pin six means a short circuit.",
        "What do minus eleven volts on pin six mean?",
    ),
    Fact(
        "The chimney sweep comes on the second Tuesday in May.", "When does the chimney sweep come?"
    ),
    Fact(
        "The rabbi and the imam will open the kitchen together.",
        "Who will open the kitchen, the rabbi?",
    ),
    Fact(
        "The yoga class moved to the boathouse because of the asbestos.",
        "Where did the yoga class go?",
    ),
    Fact("The vote on the casino was 19 to 18.", "How did the vote on the casino go?"),
    Fact(
        "Ambassador Lindqvist is allergic to walnuts.", "What is ambassador Lindqvist allergic to?"
    ),
    Fact("The escrow account is with a bank in Vaduz.", "Where is the escrow account?"),
    Fact("The hamster in the laboratory is not insured.", "Is the hamster insured?"),
    Fact("The subtitles will be done by a studio in Mumbai.", "Who will do the subtitles?"),
    Fact(
        "The scaffolding must come down before the marathon.",
        "When must the scaffolding come down?",
    ),
    # As follow-ups, in the words that were said.
    Fact(
        "The helicopter may only land on the east lawn.",
        "Where exactly?",
        ("May the helicopter land here?", "It may, in one place."),
    ),
    Fact(
        "The recipe for the gingerbread is in the red binder.",
        "And where is that?",
        ("Is there a recipe for gingerbread?", "There is."),
    ),
    Fact(
        "Wolfgang saw a badger on runway two.",
        "What did he see there?",
        ("Was anything on the runway?", "Wolfgang saw something."),
    ),
    Fact(
        "The trapeze artist broke her ankle in Nairobi.",
        "And where did it happen?",
        ("What about the trapeze artist?", "She broke something."),
    ),
    Fact(
        "The merger with Hollybrook needs consent from Brussels.",
        "Who has to agree to it?",
        ("What was said about Hollybrook?", "A merger was discussed."),
    ),
    Fact(
        "The encyclopedia went to the printer without the letter Q.",
        "What was wrong with it?",
        ("Did they mention the encyclopedia?", "They did."),
    ),
    Fact(
        "Captain Moreau sealed the cargo hold with beeswax.",
        "What did she use?",
        ("How was the cargo hold sealed?", "Captain Moreau did it."),
    ),
    Fact(
        "The crocodile enclosure needs a fence of four metres.",
        "How high should that be?",
        ("What does the crocodile enclosure need?", "A fence."),
    ),
    Fact(
        "The geologists found cobalt under the football pitch.",
        "And what was under it?",
        ("Did someone look at the football pitch?", "Geologists did."),
    ),
    Fact(
        "The duchess will unveil the fountain at noon.",
        "At which hour?",
        ("Who will unveil the fountain?", "The duchess."),
    ),
    Fact(
        "The tapestry was insured for seventy thousand pounds.",
        "For how much?",
        ("Was the tapestry insured?", "Yes."),
    ),
    Fact(
        "The origami workshop is limited to fourteen people.",
        "How many can come?",
        ("Is the origami workshop open to all?", "It is limited."),
    ),
    Fact(
        "The mosquito nets for Laos are stored in hangar nine.",
        "So where are they now?",
        ("What about the mosquito nets?", "They are stored."),
    ),
    Fact(
        "The magician cut the power cable with his saw.",
        "What with?",
        ("Who cut the power cable?", "The magician."),
    ),
    Fact(
        "The saxophone in the lost property belongs to Ludmila.",
        "To whom?",
        ("Whose is the saxophone?", NOT_HERE),
    ),
    Fact(
        "The monastery brews the beer for the anniversary.",
        "And who makes that?",
        ("Will there be beer at the anniversary?", "There will be."),
    ),
    Fact(
        "The typhoon sank the barge with the solar panels.",
        "What happened to them?",
        ("Have the solar panels arrived?", "They were on a barge."),
    ),
)

_OPENINGS = (
    "I think", "As I said,", "To be honest,", "From my side,", "If you ask me,", "Well,", "Last week I noticed that",
    "The way I see it,",
    "We agreed that", "My impression is that", "The customer says that", "In the report it says that",
)  # fmt: skip
_THINGS = (
    "the budget", "the schedule", "the new release", "the report", "the customer", "the test system", "the office",
    "the contract", "the training", "the server", "the meeting", "the design", "the survey", "the delivery",
    "the supplier", "the team", "the website", "the hiring plan", "the invoice", "the warehouse", "the insurance",
    "the building", "the printer", "the open position", "the discount", "the patent", "the elevator", "the jury",
)  # fmt: skip
_VERDICTS = (
    "needs more time than we planned", "is on track for the second quarter", "was discussed with the board",
    "should be reviewed before the summer", "costs more than last year", "has to be approved by finance",
    "is waiting for an answer from the lawyers", "will be moved to the next meeting", "was delayed by two weeks",
    "is better than people say", "depends on the number of members", "has not been tested in the new building",
    "was cancelled and then started again", "will be delivered in October", "could be paid from the travel fund",
    "has a problem with the power cable", "is described in the manual", "came up in the interviews",
)  # fmt: skip
_CLOSINGS = (
    ".", ", and that is fine.", ", but we should talk about who pays for it.", ", so let us write that down.",
    ", which is what the team in Brussels wanted.", ", at least until May.", ", and I will send you the numbers.",
    ", if nobody complains.", ", just like in the other rooms.", ", by Thursday at noon or so.",
)  # fmt: skip
_SHORT = (
    "Yeah.",
    "Okay, right.",
    "Exactly.",
    "Mhm.",
    "Sure, go on.",
    "What do you mean?",
    "That makes sense.",
)


def three_hours() -> Transcript:
    """Generate the meeting: four speakers, passages of a few seconds, the facts at random places."""
    rng = random.Random(20)
    places = rng.sample(range(N_PASSAGES), len(FACTS))
    said_at = dict(zip(places, (fact.said for fact in FACTS), strict=True))
    length = DURATION / N_PASSAGES
    return Transcript(
        tuple(
            Passage(
                text=said_at.get(place) or _small_talk(rng),
                start=round(place * length, 2),
                end=round((place + 1) * length - 0.2, 2),
                speaker=f"SPEAKER_{rng.randrange(4)}",
            )
            for place in range(N_PASSAGES)
        ),
        "en",
    )


def _small_talk(rng: random.Random) -> str:
    if rng.random() < 0.15:
        return rng.choice(_SHORT)
    parts = [rng.choice(each) for each in (_OPENINGS, _THINGS, _VERDICTS)]
    return " ".join(parts) + rng.choice(_CLOSINGS)
