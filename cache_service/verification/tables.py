"""What the rules know of English: closed word classes, spelling, phrases. Data only, written for this project.

Every table is small on purpose: a word that stands in none of them is compared as it is, which costs a hit and never makes a
wrong one. A word is listed as another's equal only if a picture or an answer for the one serves for the other.
"""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """A table written as one string, words parted by spaces."""
    return frozenset(text.split())


def pairs(text: str) -> dict[str, str]:
    """The mapping written "a=b c=d"; an underscore stands for a space in the value."""
    return {left: right.replace("_", " ") for left, _, right in (entry.partition("=") for entry in text.split())}


# --- function words -------------------------------------------------------------------------------------------------------

ARTICLES = words("a an the some")
# Dropped; their past and future forms are kept aside as tense, which questions must share.
BE = words("is are am be been being was were 's 're 'm")
DO = words("do does did")
PAST = words("was were did had")
FUTURE = words("will shall gonna")
POSSESSIVES = words("his her their its")
RELATIVES = words("that which who")
CONJUNCTIONS = {"and": "&and", "&": "&and", "or": "&or", "plus": "&and"}
PLURALS = words(
    "men women children people persons feet teeth geese mice wolves leaves knives lives wives shelves loaves halves calves scarves "
    "elves dwarves hooves"
)
# A point after these ends no sentence.
ABBREVIATIONS = words("vs dr mr mrs ms st jr sr prof")
QUESTION_WORDS = words("who whom whose what which when where why how")
NEGATIONS = words("not no never none neither nor nothing nobody nowhere without non cannot hardly")
# Contractions as people type them: the verb, and "not".
RUN_TOGETHER = pairs(
    "cannot=can cant=can wont=will dont=do doesnt=does didnt=did isnt=is arent=are wasnt=was werent=were hasnt=has havent=have "
    "hadnt=had couldnt=could shouldnt=should wouldnt=would"
)
POLITE = words("please pls kindly thanks thx")
GREETINGS = words("hi hello hey please thanks thank you so well ok okay pls there")
PRONOUNS = words("he she it they him them former latter")
# Where one of these or a pronoun stands, the order of the parts is part of what is asked.
ORDER_WORDS = words("then finally respectively followed sequence step steps left right")
SEQUENCE = words("then finally respectively followed")
# Parts of a picture: a segment of nothing else says where the next or the one before it is.
PLACES = words(
    "left right top bottom upper lower foreground background front back center middle corner side above below behind inside outside"
)

RELATIONS = pairs(
    "on=@on upon=@on onto=@onto in=@in inside=@inside within=@inside into=@into at=@at by=@by with=@with from=@from to=@to of=@of "
    "over=@over above=@above under=@under underneath=@under beneath=@under below=@below behind=@behind before=@before "
    "after=@after between=@between among=@among amongst=@among amid=@among through=@through across=@across along=@along "
    "around=@around near=@near nearby=@near beside=@next alongside=@next against=@against outside=@outside "
    "toward=@toward towards=@toward off=@off during=@during until=@until till=@until since=@since for=@for about=@about "
    "as=@as like=@like than=@than via=@via without=@without per=@per atop=@on facing=@facing"
)
# Of these it matters which thing stands behind them, also where all words are the same.
DIRECTED = words(
    "@before @after @than @as @from @by @on @under @above @below @behind @front @left @right @north @east @south @west @over @inside @into @to @toward @of @in "
    "@between"
)
# One of a line for another, or a lone one more, and nothing else changed: another question.
SMALL_EXCLUSIVE = tuple(
    words(line)
    for line in (
        "who where when why how",
        "what who where when why how",
        "my your",
        "it that",
        "who that",
        "this that",
        "me i",
        "me you",
        "him he",
        "her she",
        "them they",
        "us we",
        "i he",
        "i she",
        "you he",
        "you she",
        "we they",
        "he she",
        "his her",
    )
)
SMALL_ALONE = words("will has have had do would he she they we it that this")
YES_OR_NO = words("can could do does did am are is should may must will would have has")  # before these, I is not you
SMALL = QUESTION_WORDS | words(
    "i you me my your he she him her we us they them it this that have has had can could should would may must do will"
)
# What these speak of is another amount without them.
FOCUS = words("only just even almost nearly barely except mostly partly half")
UNITS = words("% $ € km kg cm mm lb oz mph inr usd")
# "A left of B" is "B right of A": one of each pair is rewritten to the other, ends exchanged.
INVERSES = pairs("@south=@north @west=@east @right=@left @below=@above @under=@on @behind=@front @after=@before")
SYMMETRIC = words("@next @near @beside @far")
MONTHS = words("january february march april may june july august september october november december")
# They give something to somebody, or somebody something.
DATIVE = words("give serve show hand send tell teach read lend sell bring offer pay owe pass throw")
# "X with a hat and a scarf": both belong to the same thing, in any order.
GATHERING = words("@with @by @between @among @style @featuring")

# Longest first match on lower-case words; the value is one or more finished words.
PHRASES = pairs(
    "on_top_of=@on on_the_top_of=@on in_front_of=@front in_the_front_of=@front in_back_of=@behind hidden_behind=@behind "
    "hidden_by=@behind on_the_bottom_of=@under at_the_bottom_of=@under on_bottom_of=@under "
    "to_the_north_of=@north north_of=@north to_the_south_of=@south south_of=@south to_the_east_of=@east east_of=@east "
    "to_the_west_of=@west west_of=@west ahead_of=@front "
    "to_the_left_of=@left on_the_left_of=@left left_of=@left on_the_left_side_of=@left to_the_left_side_of=@left "
    "to_the_right_of=@right on_the_right_of=@right right_of=@right on_the_right_side_of=@right to_the_right_side_of=@right "
    "next_to=@next on_side_of=@next on_the_side_of=@next at_the_side_of=@next by_the_side_of=@next adjacent_to=@next "
    "side_by_side_with=@next close_to=@near near_to=@near in_the_vicinity_of=@near far_from=@far far_away_from=@far "
    "inside_of=@inside outside_of=@outside with_no=@without with_out=@without with_zero=@without "
    "dressed_in=wear clad_in=wear along_with=&and as_well_as=&and together_with=&and "
    "close_up=closeup in_the_style_of=@style in_style_of=@style in_a_style_of=@style "
    "a_lot_of=lots lots_of=lots plenty_of=lots no_one=nobody can_not=can_not "
    "there_is= there_are= there_'s= cell_phone=cellphone mobile_phone=cellphone mobile_phones=cellphone cell_phones=cellphone "
    "t_shirt=tshirt tee_shirt=tshirt t_shirts=tshirts ice_cream=icecream sci_fi=scifi science_fiction=scifi "
    "very_small=small black_and_white=black-white white_and_black=white-black "
    "made_of=@madeof made_out_of=@madeof made_from=@madeof "
    "hyper_realistic=hyperrealistic photo_realistic=photorealistic ultra_realistic=ultrarealistic "
    "water_color=watercolor water_colour=watercolor get_rid_of=remove as_of=@asof "
    "united_states=usa united_states_of_america=usa the_us=usa the_usa=usa the_united_states=usa "
    "united_kingdom=uk the_united_kingdom=uk the_uk=uk "
    "in_the_process_of= in_order_to=@to so_as_to=@to due_to=because because_of=because "
    "turn_on=enable turn_off=disable switch_on=enable switch_off=disable log_out_of=logout log_in_to=login sign_out_of=logout sign_in_to=login "
    "a_couple_of=#2 couple_of=#2 donald_trump=trump barack_obama=obama vladimir_putin=putin narendra_modi=modi elon_musk=musk albert_einstein=einstein "
    "wi_fi=wifi e_mail=email e_mails=email e_book=ebook e_books=ebook bow_tie=bowtie bow_ties=bowtie top_hat=tophat top_hats=tophat "
    "chair_lift=chairlift retro_futuristic=retrofuturistic retro_futurism=retrofuturism semi_realistic=semirealistic "
    "web_site=website web_sites=website life_style=lifestyle foot_ball=football basket_ball=basketball "
    "steam_punk=steampunk cyber_punk=cyberpunk diesel_punk=dieselpunk art_station=artstation pop_corn=popcorn snow_board=snowboard "
    "surf_board=surfboard sun_glasses=sunglasses  "
    "down_load=download up_load=upload smart_phone=smartphone smart_phones=smartphone tooth_brush=toothbrush bath_room=bathroom "
    "bed_room=bedroom air_plane=airplane motor_cycle=motorcycle motor_bike=motorcycle "
    "no_more_than=atmost at_most=atmost at_least=atleast no_less_than=atleast no_fewer_than=atleast "
    "take_place=happen takes_place=happen took_place=happen"
)
PHRASE_STARTS: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]] = {}
for _phrase in sorted(PHRASES, key=lambda phrase: -phrase.count("_")):
    _parts = tuple(_phrase.split("_"))
    PHRASE_STARTS[_parts[0]] = (*PHRASE_STARTS.get(_parts[0], ()), (_parts, tuple(PHRASES[_phrase].split())))

# How a request is opened, without changing what is asked. Anchored, tried again until none fits; value: finished words.
OPENINGS: tuple[tuple[str, str], ...] = (
    (r"(?:hi|hello|hey|please|pls|kindly|so|well|ok|okay|thanks)\b(?! (?:many|much|far|long))", ""),
    (r"(?:can|could|would|will) (?:you|anyone|someone|somebody) (?:please )?(?:tell|show) me\b", ""),
    (r"(?:can|could|would|will) you please\b", ""),
    (r"(?:do you|does anyone|does anybody|does someone) know\b", ""),
    (r"i (?:want|would like|d like|need) to know\b", ""),
    (r"(?:please )?(?:tell me|let me know)\b", ""),
    (r"how (?:do|can|could|would|to)(?: (?:i|you|we|one|someone|somebody|a person|people))?\b(?: go about)?", "how"),
    (r"(?:what|which) (?:is|are|'s) (?:the |a |some |some of the )?(?:best |good |right |proper |correct )*(?:way|ways)(?: for me)? to\b", "how"),
    (r"(?:is|are) there (?:a|an|any|some) (?:good |easy )?(?:way|ways)(?: for me)? to\b", "how"),
    (r"whats\b", "what"),
)  # fmt: skip
IMPERATIVES = words("draw paint generate create make render produce show depict design imagine")

# --- spelling and forms ---------------------------------------------------------------------------------------------------

SPELLINGS = pairs(
    "colour=color colours=colors coloured=colored colourful=colorful colouring=coloring favourite=favorite favourites=favorites "
    "honour=honor humour=humor flavour=flavor flavours=flavors neighbour=neighbor neighbours=neighbors behaviour=behavior "
    "labour=labor harbour=harbor armour=armor armoured=armored vapour=vapor rumour=rumor grey=gray greyish=grayish centre=center "
    "centres=centers theatre=theater metre=meter metres=meters litre=liter litres=liters fibre=fiber organise=organize "
    "organised=organized organisation=organization realise=realize recognise=recognize analyse=analyze apologise=apologize "
    "summarise=summarize summarised=summarized summarising=summarizing memorise=memorize categorise=categorize emphasise=emphasize "
    "prioritise=prioritize criticise=criticize specialise=specialize utilise=utilize generalise=generalize standardise=standardize "
    "modernise=modernize colonise=colonize colonised=colonized civilisation=civilization specialised=specialized "
    "stylised=stylized optimise=optimize optimised=optimized customise=customize visualise=visualize minimise=minimize "
    "aluminium=aluminum tyre=tire tyres=tires pyjamas=pajamas jewellery=jewelry catalogue=catalog programme=program "
    "plough=plow moustache=mustache doughnut=donut doughnuts=donuts cosy=cozy travelling=traveling travelled=traveled "
    "traveller=traveler cancelled=canceled cancelling=canceling modelling=modeling labelled=labeled defence=defense "
    "licence=license offence=offense practise=practice cheque=check kerb=curb mould=mold woollen=wool sceptical=skeptical "
    "whilst=while amongst=among towards=toward learnt=learned burnt=burned dreamt=dreamed spelt=spelled "
    "watercolour=watercolor watercolours=watercolors aeroplane=airplane aeroplanes=airplanes yoghurt=yogurt"
)

# Finite forms, participles and plurals that no suffix rule finds; value: the base form.
IRREGULAR = pairs(
    "these=this those=that men=man women=woman children=child people=person persons=person feet=foot teeth=tooth geese=goose mice=mouse "
    "wolves=wolf leaves=leaf knives=knife lives=life wives=wife shelves=shelf loaves=loaf halves=half calves=calf "
    "scarves=scarf elves=elf dwarves=dwarf hooves=hoof sheep=sheep fish=fish deer=deer "
    "sat=sit seated=sit stood=stand lay=lie lain=lie lying=lie held=hold hung=hang ran=run flew=fly flown=fly "
    "flies=fly rode=ride ridden=ride drove=drive driven=drive ate=eat eaten=eat drank=drink drunk=drunk wore=wear worn=wear "
    "took=take taken=take gave=give given=give made=make went=go gone=go goes=go came=come saw=see seen=see "
    "wrote=write written=write spoke=speak spoken=speak threw=throw thrown=throw caught=catch bought=buy brought=bring "
    "sold=sell told=tell said=say kept=keep slept=sleep swept=sweep left=left lost=lose won=win built=build sent=send "
    "spent=spend met=meet led=lead fed=feed read=read cut=cut put=put set=set hit=hit hid=hide hidden=hidden "
    "broke=break broken=broken chose=choose chosen=choose drew=draw drawn=draw grew=grow grown=grow knew=know known=know "
    "blew=blow blown=blow swam=swim swum=swim sang=sing sung=sing began=begin begun=begin forgot=forget forgotten=forget "
    "got=get gotten=get shook=shake shaken=shake stole=steal stolen=steal swung=swing struck=strike taught=teach "
    "thought=think fought=fight sought=seek found=find bound=bind wound=wound ground=ground shot=shot "
    "became=become paid=pay dug=dig fell=fall fallen=fall felt=feel lit=lit meant=mean rang=ring rose=rose "
    "dying=die tying=tie makes=make using=use used=used being=be does=do shoes=shoe toes=toe canoes=canoe laying=lie laid=lie sleeping=sleep asleep=sleep "
    "wooden=wood golden=gold woolen=wool metallic=metal"
)
# Nouns and adjectives that look like a form of something else.
UNSTEMMED = words(
    "building painting drawing wedding clothing ceiling king ring string thing evening morning lightning lighting wing spring "
    "sling bring sing sting swing engraving rendering during nothing something everything anything pudding dumpling duckling "
    "shorts pants jeans glasses clothes goods arms works news lens species series scissors gas bus paris james chess christmas "
    "his this is was has its us yes bas plus thus always perhaps various canvas mars venus texas athens wales alps "
    "texting setting stocking stockings crossing red bed shed sled need seed weed speed feed bleed breed indeed exceed "
    "sacred naked hundred embed wicked rugged ragged aged united limited kindred bored beijing viking boxing pokemon mathematics "
    "physics politics economics olympics headquarters customs"
)

# --- numbers --------------------------------------------------------------------------------------------------------------

UNITS_OF_TEN = pairs(
    "zero=0 two=2 three=3 four=4 five=5 six=6 seven=7 eight=8 nine=9 ten=10 eleven=11 twelve=12 thirteen=13 "
    "fourteen=14 fifteen=15 sixteen=16 seventeen=17 eighteen=18 nineteen=19"
)
TENS = pairs("twenty=20 thirty=30 forty=40 fifty=50 sixty=60 seventy=70 eighty=80 ninety=90")
POWERS = pairs("hundred=100 thousand=1000 million=1000000 billion=1000000000 dozen=12")
ORDINALS = pairs(
    "first=1st second=2nd third=3rd fourth=4th fifth=5th sixth=6th seventh=7th eighth=8th ninth=9th tenth=10th "
    "eleventh=11th twelfth=12th thirteenth=13th fourteenth=14th fifteenth=15th sixteenth=16th seventeenth=17th "
    "eighteenth=18th nineteenth=19th twentieth=20th thirtieth=30th"
)
MEASURES = pairs(
    "kilometer=km kilometers=km kms=km meter=m meters=m centimeter=cm centimeters=cm millimeter=mm millimeters=mm "
    "kilogram=kg kilograms=kg kilos=kg kgs=kg gram=g grams=g liter=l liters=l pound=lb pounds=lb lbs=lb ounce=oz ounces=oz "
    "inches=inch feet=ft foot=ft ft=ft miles=mile hours=hour hrs=hour hr=hour minutes=minute mins=minute min=minute "
    "seconds=sec second=sec secs=sec percent=% years=year yrs=year days=day weeks=week months=month dollars=$ dollar=$ usd=$ "
    "euros=€ euro=€ eur=€ rupees=inr rs=inr"
)
# Said of a picture's finish; hardly changes what is drawn. Whole comma segments only, words for "very" before them cut off.
QUALITY = frozenset(
    phrase.replace("_", " ")
    for phrase in words(
        "detailed detail intricate_detail intricate_details 4k 8k 16k 4k_resolution 8k_resolution "
        "uhd hd hdr hq high_quality best_quality high_resolution high_res highres "
        "ultra_hd 8k_uhd 4k_uhd 8k_hd 4k_hd masterpiece award_winning trending_on_artstation ultra_detailed "
        "hyper_detailed super_detailed hyperdetailed sharp_focus full_hd absurdres high_detail high_definition"
    )
)

# --- attributes -----------------------------------------------------------------------------------------------------------

COLOURS = words(
    "red orange yellow green blue purple violet pink brown black white gray beige tan cyan magenta turquoise teal maroon navy "
    "gold silver bronze crimson scarlet indigo lavender ivory cream khaki olive lilac burgundy amber azure aqua mauve peach "
    "coral salmon charcoal black-white blonde blond brunette"
)
SHADES = words("light dark pale bright deep neon pastel")
MATERIALS = words(
    "wood metal glass plastic leather fabric rubber cotton wool silk stone marble brick concrete steel iron copper bronze brass "
    "paper cardboard clay ceramic porcelain velvet denim linen straw bamboo aluminum tin chrome granite jade crystal ice"
)
SIZES = words("big small huge tall short long wide narrow thick thin giant miniature medium tiny high low deep shallow")
# "A is shorter than B" is "B is taller than A": rewritten, ends exchanged.
COMPARATIVES = pairs(
    "shorter=taller smaller=bigger larger=bigger younger=older lighter=heavier slower=faster lower=higher thinner=thicker "
    "narrower=wider colder=hotter weaker=stronger cheaper=costlier taller=taller bigger=bigger older=older heavier=heavier "
    "faster=faster higher=higher thicker=thicker wider=wider hotter=hotter stronger=stronger costlier=costlier worse=better better=better"
)
SAME_WAY = words("better taller bigger larger older heavier faster higher thicker wider hotter stronger costlier")
TURNS = COMPARATIVES | pairs("more=more less=more fewer=more")
SHAPES = words(
    "round square circular triangular rectangular oval cubic spherical cylindrical conical pyramidal pentagonal hexagonal "
    "octagonal oblong teardrop diamond flat curved pointed heart-shaped star-shaped"
)
TEXTURES = words(
    "fluffy smooth rough soft hard shiny matte glossy furry hairy fuzzy silky prickly spiky bumpy slippery sticky wet dry dirty "
    "clean dusty rusty striped spotted dotted checkered plaid patterned plain transparent translucent opaque"
)
AGES = words("old young new ancient modern elderly")
MOODS = words("beautiful cute ugly happy sad angry scary bitter sweet savory hot cold warm cool empty full open closed")
ATTRIBUTES = COLOURS | MATERIALS | SIZES | SHAPES | TEXTURES | AGES | MOODS
COLLECTIVE = words("couple group herd crowd pair team family flock bunch band crew")
DONE = words(
    "walk run play ride look eat stand jump swim fly climb talk work dance wait watch move race climb ski surf skate drive hike cross"
)
# Before these "single" is no count of one.
NOT_COUNTED = words(
    "bed mother father mom dad parent malt man woman men women room user use file life cell player person people origin"
)
VERY = words("very highly extremely really incredibly super insanely")

# Dropped: "a cup placed on a table" is a cup on a table.
LOCATED = words("located positioned situated placed")
# "A cat sitting on a sofa" may be "a cat on a sofa"; standing may not, nor may one posture be another.
POSTURES = words("sit lie hang rest")
RESTING = POSTURES | words("stand lean perch park")

PICTURES = words("photo picture image pic shot")
MEDIA = PICTURES | words(
    "painting drawing sketch illustration render rendering watercolor cartoon poster sculpture mosaic engraving etching "
    "lithograph sticker logo icon print artwork art portrait still closeup collage mural fresco woodcut"
)

# With an accent these are other words.
ACCENTED = words("rosé exposé résumé resumé pâté lamé maté piqué sauté")
# Last words of what is said of the picture itself: "a wide shot", "the golden ratio".
OF_THE_PICTURE = MEDIA | words(
    "shot view angle style lighting atmosphere mood palette resolution lens render effect perspective composition aesthetic filter "
    "exposure vibe ratio texture theme hologram wallpaper screenshot frame concept masterpiece background foreground"
)
# Beings and objects: in a list of tags these are there themselves, what stands behind them may say how they are.
THINGS = words(
    # people and their like
    "man woman boy girl child baby kid person people guy lady king queen prince princess knight wizard witch mage sorcerer sorceress "
    "warrior soldier samurai ninja pirate monk nun priest priestess hero heroine villain thief archer hunter ranger paladin rogue bard "
    "druid barbarian apprentice master teacher student nurse doctor chef baker farmer fisherman sailor dancer singer drummer guitarist "
    "clown jester cowboy detective policeman firefighter astronaut scientist robot android cyborg alien elf dwarf orc goblin troll "
    "giant fairy mermaid vampire werewolf zombie ghost skeleton demon devil angel god goddess dragon unicorn centaur minotaur phoenix "
    "griffin squire peasant merchant blacksmith miller tailor butler maid sheriff bandit assassin gladiator viking general captain emperor "
    "empress duke duchess lord bishop pope shaman necromancer cleric scholar poet artist musician pianist violinist judge lawyer pilot "
    "cyclist skater surfer swimmer boxer wrestler athlete goalkeeper referee teenager toddler twin gnome imp ogre cyclops hobbit genie "
    "nymph satyr siren valkyrie golem mummy mother father sister brother grandmother grandfather son daughter husband wife bride groom uncle aunt "
    # animals
    "cat dog horse cow sheep pig goat bird duck chicken hen rooster goose fish shark whale dolphin lion tiger bear wolf fox rabbit mouse "
    "rat frog turtle snake lizard elephant giraffe zebra monkey gorilla panda koala kangaroo butterfly bee spider owl eagle raven crow "
    "parrot penguin deer camel donkey squirrel hedgehog crab octopus puppy kitten dinosaur "
    "pony lamb calf foal ram bull ox buffalo bison moose elk otter beaver badger raccoon weasel ferret hamster leopard jaguar panther "
    "cheetah hyena coyote walrus dove pigeon sparrow swan peacock flamingo ostrich heron stork falcon hawk vulture seagull salmon squid "
    "lobster shrimp snail beetle moth ladybug scorpion crocodile alligator toad "
    # things
    "car truck bus train bicycle motorcycle airplane boat ship tank chair table sofa bed desk bench lamp vase cup mug bowl plate teapot "
    "bottle glass jar spoon fork knife book hat coat shirt dress shoe boot glove scarf umbrella bag box basket ball cube sphere pyramid "
    "cone cylinder house hut barn tower castle church bridge door window apple banana orange pear lemon tomato carrot tree flower rose "
    "tulip cactus guitar piano violin drum clock phone laptop camera candle sword shield "
    "pot pan kettle barrel chest crate mirror pillow blanket lantern torch ladder hammer axe helmet crown mask wagon cart carriage "
    "tractor van canoe raft submarine rocket balloon kite doll statue fountain fence gate cabin tent palace temple windmill lighthouse"
)

# Written in small letters and in capitals they are different words; the first ones in capitals only.
ACRONYMS = words("us who it aids")
CASE_BOUND = ACRONYMS | words(
    "polish turkey china may march mercury nice reading cork jersey guinea apple amazon java swift rust go sie"
)

# Marks of other languages and of English: which of them a prompt has more of decides how it is read.
ENGLISH_MARKS = words(
    "the of and with is are to for by at how what which who when where why it this that from on an does can you your my between"
)
FOREIGN_MARKS = words(
    "der das und ein eine einen einem einer ist nicht mit auf für von zu dem im wie ich wir kann mein zwei drei ohne sind wird "
    "le la les un une du et est dans sur avec pour pas qui que comment je mon ma sans deux trois sont il elle au aux ce "
    "el los las una y por para del como qué está mi dos tres se su cómo cuál hay "
    "lo gli di che non sono è sul della nel nella il uno senza tre dei "
    "os uma e com não em na nos mulher sem dois duas três são ao um "
    "het een op voor niet hoe ik zonder twee drie zijn naar wat "
    "en ett och på är inte som hur jag utan två av "
    "na jest nie jak się dwa bez dla "
    "bir ve ile için nasıl değil iki "
    "og ikke uden til jeg hvad "
    "ja ei kaksi yang di dengan tidak pada untuk "
    "și cu pe nu este în și "
)

# Words of the closed classes with what they become; `~` is dropped from the parts.
GRAMMAR: dict[str, str] = {
    **dict.fromkeys(VERY, "very"),
    **dict.fromkeys(LOCATED, "~at"),
    **dict.fromkeys(POLITE, "~please"),
    **dict.fromkeys(POSSESSIVES, "~their"),
    **dict.fromkeys(DO, "~do"),
    **dict.fromkeys(BE, "~be"),
    **dict.fromkeys(ARTICLES, "~the"),
    "a": "~a",
    "an": "~a",
    **MEASURES,
    **CONJUNCTIONS,
    **RELATIONS,
}
